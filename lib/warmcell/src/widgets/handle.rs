//! What all widgets are: a name, a kind, and attributes of which the kernel keeps the newest.

use std::{
    fmt,
    io::Write,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use ::display::widgets::{Kind, reference};
use serde_json::{Value, json};
use wire::{
    cell::{CellMessage, KernelMessage},
    widget::{WidgetAction, WidgetAnswer, WidgetCall, WidgetState},
};

use super::callbacks;
use crate::{FailureKind, Result, cell::kernel};

/// A widget on the notebook's pages. Clones are the same widget.
#[derive(Clone)]
pub struct Handle(Arc<Inner>);

struct Inner {
    id: String,
    kind: Kind,
    /// What the cell has set.
    attributes: Mutex<WidgetState>,
    /// What a box holds, in order.
    children: Vec<Handle>,
    /// How its description looks, once it has one.
    style: OnceLock<Handle>,
    is_open: AtomicBool,
}

/// Anything that can stand on a page as a widget.
pub trait Widget {
    /// Its common part.
    #[doc(hidden)]
    fn handle(&self) -> &Handle;

    /// Takes it off the pages.
    fn close(&self) {
        self.handle().close();
    }
}

impl<T: Widget + ?Sized> Widget for &T {
    fn handle(&self) -> &Handle {
        (**self).handle()
    }
}

impl Handle {
    pub(super) fn new(kind: Kind, attributes: Value) -> Self {
        Self::holding(Vec::new(), kind, attributes)
    }

    /// A box of these.
    pub(super) fn holding(children: Vec<Self>, kind: Kind, attributes: Value) -> Self {
        let attributes = match attributes {
            Value::Object(attributes) => attributes,
            _ => WidgetState::new(),
        };
        Self(Arc::new(Inner {
            id: new_id(),
            kind,
            attributes: Mutex::new(attributes),
            children,
            style: OnceLock::new(),
            is_open: AtomicBool::new(false),
        }))
    }

    pub(super) fn id(&self) -> &str {
        &self.0.id
    }

    pub(super) fn children(&self) -> &[Self] {
        &self.0.children
    }

    /// Sets an attribute.
    pub(super) fn set(&self, name: &str, value: impl Into<Value>) {
        let value = value.into();
        self.attributes().insert(name.to_owned(), value.clone());
        if self.0.is_open.load(Ordering::SeqCst) {
            let state = WidgetState::from_iter([(name.to_owned(), value)]);
            send(WidgetCall::Update {
                id: self.0.id.clone(),
                state,
            });
        }
    }

    /// Sets what stands beside it, which has the room that it needs: without a style of its own front ends
    /// cut it after some ten letters.
    pub(super) fn describe(&self, description: &str) {
        self.set("description", description);
        if let Some(kind) = self.0.kind.style()
            && self.0.style.get().is_none()
        {
            let style = Self::new(kind, json!({ "description_width": "initial" }));
            if self.0.is_open.load(Ordering::SeqCst) {
                style.open();
            }
            let name = reference(style.id());
            if self.0.style.set(style).is_ok() {
                self.set("style", name);
            }
        }
    }

    /// Lets the descriptions of widgets that stand below each other end at one place. As wide as all front
    /// ends have it where they fit, as in ipywidgets; else as wide as the longest.
    pub(super) fn align(widgets: &[Self]) {
        // What a check box says stands behind it: it has an empty place where others have a description.
        let beside = widgets
            .iter()
            .filter(|widget| widget.0.kind != Kind::Checkbox);
        let columns = beside.map(|widget| columns(&widget.description())).max();
        let width = match columns {
            None | Some(..=FITTING) => String::new(),
            Some(columns) => format!("{}ch", columns + 1),
        };
        for style in widgets.iter().filter_map(|widget| widget.0.style.get()) {
            style.set("description_width", width.as_str());
        }
    }

    fn description(&self) -> String {
        let attributes = self.attributes();
        let description = attributes.get("description").and_then(Value::as_str);
        description.unwrap_or_default().to_owned()
    }

    /// An attribute as the user left it, or as the cell set it.
    pub(super) fn get(&self, name: &str) -> Value {
        if let Some((state, _)) = self.read()
            && let Some(value) = state.get(name)
        {
            return value.clone();
        }
        self.attributes().get(name).cloned().unwrap_or_default()
    }

    /// All attributes as the user left them, or as the cell set them.
    pub(super) fn state(&self) -> WidgetState {
        self.read()
            .map_or_else(|| self.own_state(), |(state, _)| state)
    }

    fn own_state(&self) -> WidgetState {
        let attributes = self.attributes().clone();
        self.0.kind.state(Value::Object(attributes))
    }

    /// How often it was clicked.
    pub(super) fn clicks(&self) -> u64 {
        self.read().map_or(0, |(_, clicks)| clicks)
    }

    fn read(&self) -> Option<(WidgetState, u64)> {
        if !self.0.is_open.load(Ordering::SeqCst) {
            return None;
        }
        match send(WidgetCall::Read {
            id: self.0.id.clone(),
        }) {
            Some(KernelMessage::Widget(WidgetAnswer::State { state, clicks })) => {
                Some((state, clicks))
            }
            _ => None,
        }
    }

    /// Calls a function with what the user does, whenever no cell runs.
    pub(super) fn observe(&self, callback: impl FnMut(&WidgetAction) + Send + 'static) {
        self.open();
        callbacks::add(&self.0.id, Box::new(callback));
        send(WidgetCall::Observe {
            id: self.0.id.clone(),
        });
    }

    /// Makes it known to the kernel, once, after what it holds.
    pub(super) fn open(&self) {
        self.0.children.iter().for_each(Self::open);
        if let Some(style) = self.0.style.get() {
            style.open();
        }
        if !kernel::is_connected() || self.0.is_open.swap(true, Ordering::SeqCst) {
            return;
        }
        send(WidgetCall::Open {
            id: self.0.id.clone(),
            state: self.own_state(),
        });
    }

    fn close(&self) {
        callbacks::remove(&self.0.id);
        if let Some(style) = self.0.style.get() {
            style.close();
        }
        if self.0.is_open.swap(false, Ordering::SeqCst) {
            send(WidgetCall::Close {
                id: self.0.id.clone(),
            });
        }
    }

    fn attributes(&self) -> std::sync::MutexGuard<'_, WidgetState> {
        self.0
            .attributes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({})", self.0.kind.name(), self.0.id)
    }
}

/// Columns of a description that no front end cuts.
const FITTING: usize = 8;

/// How wide a text is in columns of a digit, of which letters of other scripts may take two.
fn columns(text: &str) -> usize {
    text.chars()
        .map(|letter| if letter.is_ascii() { 1 } else { 2 })
        .sum()
}

/// Says something about widgets to the kernel. What it refuses is told, once for each call: a closed
/// widget is no reason to fail.
pub(crate) fn send(call: WidgetCall) -> Option<KernelMessage> {
    if !kernel::is_connected() {
        return None;
    }
    match kernel::send(&CellMessage::Widget(call)) {
        Ok(KernelMessage::Refused(reason)) => {
            tell(&reason);
            None
        }
        Ok(answer) => Some(answer),
        Err(error) => {
            tell(&error.to_string());
            None
        }
    }
}

fn tell(line: &str) {
    // Output that nobody reads any more is no reason to fail.
    let _ = writeln!(std::io::stderr(), "{line}");
}

/// Whether a front end shows widgets.
pub(crate) fn are_shown() -> Result<bool> {
    if !kernel::is_connected() {
        return Ok(false);
    }
    match kernel::send(&CellMessage::HasWidgets)? {
        KernelMessage::Accepted => Ok(true),
        KernelMessage::Refused(_) => Ok(false),
        KernelMessage::Input(_) | KernelMessage::Widget(_) => Err(crate::Error::new(
            FailureKind::Internal,
            "the kernel answered another question than was asked",
        )),
    }
}

/// Unique over processes and restarts.
pub(crate) fn new_id() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{:08x}{:x}{number:06x}", std::process::id(), now.as_nanos())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::widgets::{Button, Checkbox, FloatSlider, Text, VBox};

    /// Of the description "temperature" a page showed "temperat…".
    #[test]
    fn a_description_has_the_room_that_it_needs() {
        let slider = FloatSlider::new(0.7)
            .description("t")
            .description("temperature");
        let handle = slider.handle();
        let style = handle.0.style.get().expect("has a style");
        assert_eq!(handle.get("style"), reference(style.id()));
        assert_eq!(style.get("description_width"), "initial");
        assert_eq!(style.state()["_model_name"], "SliderStyleModel");
        assert!(Button::new("Count").handle().0.style.get().is_none());
    }

    /// Each description was as wide as its words, and no two controls began at one place.
    #[test]
    fn controls_below_each_other_begin_at_one_place() {
        let width = |widget: &dyn Widget| {
            let style = widget.handle().0.style.get().expect("has a style");
            style.get("description_width")
        };
        let (short, agree) = (Text::new("").description("n"), Checkbox::new(true));
        let agree = agree.description("a check box says it behind itself");
        VBox::new([&short as &dyn Widget, &agree, &Button::new("Count")]);
        assert_eq!((width(&short), width(&agree)), ("".into(), "".into()));
        let long = FloatSlider::new(0.7).description("temperature");
        VBox::new([&short as &dyn Widget, &long, &agree]);
        let widths = [width(&short), width(&long), width(&agree)];
        assert_eq!(widths, ["12ch", "12ch", "12ch"]);
    }
}
