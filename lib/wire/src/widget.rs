//! Widgets between a cell and its kernel, which keeps their state: front ends read and change it there
//! while a cell runs, and find it again after a page was reloaded.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A widget's attributes by name, as ipywidgets' models have them: `{"value": 3, "max": 10}`. Another
/// widget stands as `"IPY_MODEL_<id>"`.
pub type WidgetState = Map<String, Value>;

/// What a cell asks about its widgets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WidgetCall {
    /// Makes a widget known to the front ends. Answered by `Accepted`.
    Open {
        /// Its name, which nothing else has.
        id: String,
        /// All attributes that differ from the front end's defaults.
        state: WidgetState,
    },
    /// Changes attributes. Of changes in quick succession the newest is shown. Answered by `Accepted`.
    Update {
        /// The widget.
        id: String,
        /// What changes.
        state: WidgetState,
    },
    /// Asks for the attributes as the user left them. Answered by [`WidgetAnswer::State`].
    Read {
        /// The widget.
        id: String,
    },
    /// From now on what the user does to the widget is an event. Answered by `Accepted`.
    Observe {
        /// The widget.
        id: String,
    },
    /// Takes the oldest event that nobody has taken. Answered by [`WidgetAnswer::Event`]. One at a time: who
    /// fails at one leaves the others.
    TakeEvent,
    /// A text is being written in this widget. Should the cell's process die, the kernel ends it. Answered by
    /// `Accepted`.
    TextBegins {
        /// The widget.
        id: String,
        /// The name of the display that shows it.
        display_id: String,
    },
    /// The text in this widget is finished. Answered by `Accepted`.
    TextEnds {
        /// The widget.
        id: String,
    },
    /// Sends what is printed and shown into an output widget, or with `None` to where it went before:
    /// they nest. Answered by `Accepted`.
    Capture {
        /// The output widget.
        id: Option<String>,
    },
    /// Forgets a widget, which leaves the pages. Answered by `Accepted`.
    Close {
        /// The widget.
        id: String,
    },
}

/// What the kernel answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WidgetAnswer {
    /// A widget as it is now.
    State {
        /// Its attributes.
        state: WidgetState,
        /// How often it was clicked.
        clicks: u64,
    },
    /// What the user did, if it was anything.
    Event(Option<WidgetEvent>),
}

/// What a user did to a widget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WidgetEvent {
    /// The widget.
    pub id: String,
    /// What happened.
    pub action: WidgetAction,
}

/// A user's doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum WidgetAction {
    /// Attributes have other values now; of several that nobody has taken only the last.
    Changed(WidgetState),
    /// It was clicked.
    Clicked,
}
