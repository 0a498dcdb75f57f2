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
    is_finished: bool,
}

impl Live {
    /// Shows an empty one; `None` where no front end shows widgets.
    pub fn start() -> Option<Self> {
        if !are_shown().unwrap_or(false) {
            return None;
        }
        let id = new_id();
        let text = LiveText::new(id.clone(), Instant::now());
        let (calls, bundle) = text.open();
        calls.into_iter().for_each(tell);
        let display = LiveDisplay::start(bundle).ok()?;
        let display_id = display.display_id().to_owned();
        tell(WidgetCall::TextBegins { id, display_id });
        Some(Self {
            text,
            display,
            is_stopped: false,
            is_finished: false,
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
        let now = Instant::now();
        self.text.frame(now).into_iter().for_each(tell);
        if let Some(bundle) = self.text.renewed(now) {
            // The page that is lost is the notebook's.
            let _ = self.display.update(bundle);
        }
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
    pub fn finish(mut self, generated: Option<&Generated>) {
        self.end(generated);
    }

    fn end(&mut self, generated: Option<&Generated>) {
        if std::mem::replace(&mut self.is_finished, true) {
            return;
        }
        let (calls, bundle): (_, Bundle) = match generated {
            Some(generated) => self.text.finish(generated),
            None => self.text.fail(),
        };
        calls.into_iter().for_each(tell);
        // The page that is lost is the notebook's; the text goes to the cell in any case.
        let _ = self.display.update(bundle);
        let widgets = self.text.widgets();
        if let Some(id) = widgets.first().cloned() {
            tell(WidgetCall::TextEnds { id });
        }
        keep(widgets);
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

/// A text that nobody finishes, since what was called with its tokens panicked, has ended all the same.
impl Drop for Live {
    fn drop(&mut self) {
        self.end(None);
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
