//! A text that a front end shows while it is generated: the widgets of `display::LiveText`, told to the
//! kernel, with the button that ends the generation.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Instant,
};

use ::display::LiveText;
use wire::{
    cell::KernelMessage,
    generate::Generated,
    mime::Bundle,
    widget::{WidgetAnswer, WidgetCall},
};

use crate::{
    show::LiveDisplay,
    widgets::{are_shown, new_id, send},
};

/// So many finished texts keep their widgets: a page that was loaded again while one was written shows it
/// by them.
const KEPT: usize = 16;

/// A text on the page.
pub(crate) struct Live {
    text: LiveText,
    display: LiveDisplay,
    is_stopped: bool,
}

impl Live {
    /// Shows an empty one; `None` where no front end shows widgets.
    pub fn start() -> Option<Self> {
        if !are_shown().unwrap_or(false) {
            return None;
        }
        let text = LiveText::new(new_id(), Instant::now());
        let (calls, bundle) = text.open();
        calls.into_iter().for_each(tell);
        let display = LiveDisplay::start(bundle).ok()?;
        Some(Self {
            text,
            display,
            is_stopped: false,
        })
    }

    /// One more token.
    pub fn push(&mut self, text: &str) {
        self.text.push(text, Instant::now());
    }

    /// When [`Self::tick`] has something to do.
    pub fn due(&self) -> Instant {
        self.text.due()
    }

    /// Draws the next frame, and looks at the button; `true` when it was pressed just now.
    pub fn tick(&mut self) -> bool {
        self.text.frame(Instant::now()).into_iter().for_each(tell);
        if self.is_stopped || !self.is_pressed() {
            return false;
        }
        self.is_stopped = true;
        self.text.stopping().into_iter().for_each(tell);
        true
    }

    /// Whether the user has ended it by the button.
    pub fn is_stopped(&self) -> bool {
        self.is_stopped
    }

    /// What stands there from now on: the finished text, or what there is of it.
    pub fn finish(self, generated: Option<&Generated>) {
        let (calls, bundle): (_, Bundle) = match generated {
            Some(generated) => self.text.finish(generated),
            None => self.text.fail(),
        };
        calls.into_iter().for_each(tell);
        // The page that is lost is the notebook's; the text goes to the cell in any case.
        let _ = self.display.update(bundle);
        keep(self.text.widgets());
    }

    fn is_pressed(&self) -> bool {
        let id = self.text.stop_button();
        let answer = send(WidgetCall::Read { id });
        matches!(
            answer,
            Some(KernelMessage::Widget(WidgetAnswer::State { clicks, .. })) if clicks > 0
        )
    }
}

fn tell(call: WidgetCall) {
    send(call);
}

/// Closes the widgets of the text that has been finished longest, when there are many.
fn keep(widgets: Vec<String>) {
    static FINISHED: Mutex<VecDeque<Vec<String>>> = Mutex::new(VecDeque::new());
    let mut finished = FINISHED.lock().unwrap_or_else(PoisonError::into_inner);
    finished.push_back(widgets);
    if finished.len() > KEPT {
        for id in finished.pop_front().into_iter().flatten() {
            tell(WidgetCall::Close { id });
        }
    }
}
