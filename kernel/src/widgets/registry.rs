//! The widgets by name, and what cells ask of them. Changes that follow each other quickly are sent
//! together: about fifteen times a second for each widget, the last always.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use jupyter::{CellError, Comm, Publisher};
use serde_json::{Map, Value, json};
use wire::{
    cell::KernelMessage,
    mime::Bundle,
    widget::{WidgetAction, WidgetAnswer, WidgetCall, WidgetEvent, WidgetState},
};

use super::{outputs::Outputs, saved::Shown, texts::Texts};
use crate::evaluate::Stream;

/// The target of a widget's comm.
pub(super) const TARGET: &str = "jupyter.widget";
/// Of the widgets' protocol; a front end refuses a comm without it.
const PROTOCOL: &str = "2.1.0";
/// About fifteen changes a second.
const INTERVAL: Duration = Duration::from_millis(67);
/// Bytes a second of one widget's outputs: they are sent whole each time.
const RATE: f64 = 2e6;
/// No page shows so many; a loop that makes them without end is stopped before memory is.
const MOST_WIDGETS: usize = 20_000;

/// All widgets of a notebook.
pub struct Widgets {
    pub(super) state: Mutex<State>,
    /// Something waits to be sent.
    waits: Condvar,
    /// Whether a front end has asked for widgets.
    pub(super) has_front_end: AtomicBool,
}

/// What the kernel does at a press, which must return at once.
pub(super) type Handler = Arc<dyn Fn() + Send + Sync>;

#[derive(Default)]
pub(super) struct State {
    pub(super) widgets: HashMap<String, Widget>,
    pub(super) events: VecDeque<WidgetEvent>,
    /// The output widgets that take what is printed: the last does, until it gives way to the one before.
    capture: Vec<String>,
    /// The one that did so last.
    captured: Option<String>,
    /// What the kernel itself does when a button is pressed.
    pub(super) handlers: HashMap<String, Handler>,
    pub(super) texts: Texts,
    /// The widgets that stand on the page.
    pub(super) shown: Vec<Shown>,
    /// When the words beside them are to follow what the user did.
    pub(super) words_due: Option<Instant>,
    /// Whether one has begun that has not ended.
    pub(super) cell_runs: bool,
    pub(super) out: Option<Publisher>,
}

pub(super) struct Widget {
    pub(super) state: WidgetState,
    pub(super) clicks: u64,
    /// Whether what the user does to it is an event.
    pub(super) is_observed: bool,
    /// Attributes that the front ends do not know yet.
    pub(super) unsent: WidgetState,
    sent: Instant,
    outputs: Outputs,
    has_new_outputs: bool,
}

impl Widget {
    /// Whether front ends do not know it as it is.
    fn waits(&self) -> bool {
        !self.unsent.is_empty() || self.has_new_outputs
    }

    /// When it may be sent again: what is large less often.
    fn due(&self) -> Instant {
        let seconds = self.outputs.size() as f64 / RATE;
        self.sent + INTERVAL.max(Duration::from_secs_f64(seconds))
    }

    /// Its attributes as they are.
    pub(super) fn now(&mut self) -> &WidgetState {
        if std::mem::take(&mut self.has_new_outputs) {
            let outputs = self.outputs.value();
            self.state.insert("outputs".to_owned(), outputs.clone());
            self.unsent.insert("outputs".to_owned(), outputs);
        }
        &self.state
    }
}

impl Widgets {
    /// No widget, and a thread that sends what waits.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start() -> std::io::Result<Arc<Self>> {
        let widgets = Arc::new(Self {
            state: Mutex::default(),
            waits: Condvar::new(),
            has_front_end: AtomicBool::new(false),
        });
        let weak = Arc::downgrade(&widgets);
        thread::Builder::new()
            .name("widgets".to_owned())
            .spawn(move || send_what_waits(&weak))?;
        Ok(widgets)
    }

    /// Where comms are opened from now on; gives where they were before.
    pub fn publish_by(&self, out: Option<Publisher>) -> Option<Publisher> {
        std::mem::replace(&mut self.lock().out, out)
    }

    /// Whether a front end shows widgets: it has asked for them.
    pub fn has_front_end(&self) -> bool {
        self.has_front_end.load(Ordering::SeqCst)
    }

    /// Does what a cell asks.
    pub fn carry_out(&self, call: WidgetCall) -> KernelMessage {
        let mut state = self.lock();
        match call {
            WidgetCall::Open { id, state: widget } => return state.open(id, widget),
            WidgetCall::Update { id, state: changes } => {
                let Some(widget) = state.widgets.get_mut(&id) else {
                    return unknown(&id);
                };
                widget.state.extend(changes.clone());
                widget.unsent.extend(changes);
                self.send_or_wait(&mut state, &id);
            }
            WidgetCall::Read { id } => {
                return match state.widgets.get_mut(&id) {
                    Some(widget) => KernelMessage::Widget(WidgetAnswer::State {
                        clicks: widget.clicks,
                        state: widget.now().clone(),
                    }),
                    None => unknown(&id),
                };
            }
            WidgetCall::Observe { id } => match state.widgets.get_mut(&id) {
                Some(widget) => widget.is_observed = true,
                None => return unknown(&id),
            },
            WidgetCall::TakeEvent => {
                let event = state.events.pop_front();
                // Should its function fail, that is not told where another one has printed.
                state.captured = None;
                return KernelMessage::Widget(WidgetAnswer::Event(event));
            }
            WidgetCall::TextBegins { id, display_id } => {
                state.has_own_words(&id);
                state.texts.begin(id, display_id);
            }
            WidgetCall::TextEnds { id } => state.texts.end(&id),
            WidgetCall::Capture { id } => {
                if let Some(id) = id.as_deref().filter(|id| !state.widgets.contains_key(*id)) {
                    return unknown(id);
                }
                match id {
                    Some(id) => {
                        state.captured = Some(id.clone());
                        state.capture.push(id);
                    }
                    None => drop(state.capture.pop()),
                }
            }
            WidgetCall::Close { id } => {
                state.handlers.remove(&id);
                if !state.texts.are_kept(&id)
                    && state.widgets.remove(&id).is_some()
                    && let Some(out) = &state.out
                {
                    out.comm_close(message(&id, Map::new()));
                }
            }
        }
        KernelMessage::Accepted
    }

    /// From now on the kernel itself does this when the button is pressed, also while a cell runs. It must
    /// return at once.
    pub fn on_click(&self, id: &str, handler: impl Fn() + Send + Sync + 'static) {
        self.lock()
            .handlers
            .insert(id.to_owned(), Arc::new(handler));
    }

    /// Sends all that waits: a cell ends.
    pub fn flush(&self) {
        let mut state = self.lock();
        let waiting = state.widgets.iter();
        let waiting = waiting.filter(|(_, widget)| widget.waits());
        let waiting: Vec<String> = waiting.map(|(id, _)| id.clone()).collect();
        for id in waiting {
            state.send(&id);
        }
    }

    /// A cell is about to begin, or has ended.
    pub fn cell_runs(&self, runs: bool) {
        self.lock().cell_runs = runs;
    }

    /// A cell begins: what it prints is its own, whatever became of the one before.
    pub fn release_output(&self) {
        let mut state = self.lock();
        (state.capture, state.captured) = (Vec::new(), None);
    }

    /// Shows an error where the output went that came before it; `false` when no output widget took any.
    pub fn show_error(&self, error: &CellError) -> bool {
        let mut state = self.lock();
        let Some(id) = state.captured.clone() else {
            return false;
        };
        let Some(widget) = state.widgets.get_mut(&id) else {
            return false;
        };
        widget.outputs.error(error);
        widget.has_new_outputs = true;
        state.send(&id);
        true
    }

    /// How much a user did that nobody has taken note of.
    pub fn events(&self) -> usize {
        self.lock().events.len()
    }

    /// What a user did is not to be answered any more.
    pub fn drop_events(&self) {
        self.lock().events.clear();
    }

    /// Lets an output widget take an output, when one does.
    pub fn captures(&self, take: impl FnOnce(&mut Outputs)) -> bool {
        let mut state = self.lock();
        let Some(id) = state.capture.last().cloned() else {
            return false;
        };
        let Some(widget) = state.widgets.get_mut(&id) else {
            return false;
        };
        take(&mut widget.outputs);
        widget.has_new_outputs = true;
        self.send_or_wait(&mut state, &id);
        true
    }

    /// Text that an output widget takes.
    pub fn captures_stream(&self, stream: Stream, text: &str) -> bool {
        self.captures(|outputs| outputs.stream(stream, text))
    }

    /// Replaces what output widgets show under a name.
    pub fn update_display(&self, bundle: &Bundle, name: &str) {
        let mut state = self.lock();
        let outputs = state.widgets.iter_mut();
        let changed: Vec<String> = outputs
            .filter_map(|(id, widget)| {
                let changed = widget.outputs.update(bundle, name);
                widget.has_new_outputs |= changed;
                changed.then(|| id.clone())
            })
            .collect();
        for id in changed {
            self.send_or_wait(&mut state, &id);
        }
    }

    fn send_or_wait(&self, state: &mut State, id: &str) {
        let due = state.widgets.get(id).map(Widget::due);
        if due.is_some_and(|due| due <= Instant::now()) {
            state.send(id);
        } else {
            self.waits.notify_one();
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn open(&mut self, id: String, state: WidgetState) -> KernelMessage {
        if self.widgets.len() >= MOST_WIDGETS {
            let reason = format!("there are {MOST_WIDGETS} widgets already; restart the kernel");
            return KernelMessage::Refused(reason);
        }
        if let Some(out) = &self.out {
            let mut comm = message(&id, content(&state, None));
            comm.metadata.insert("version".to_owned(), PROTOCOL.into());
            out.comm_open(comm, TARGET);
        }
        let widget = Widget {
            state,
            clicks: 0,
            is_observed: false,
            unsent: WidgetState::new(),
            sent: Instant::now(),
            outputs: Outputs::default(),
            has_new_outputs: false,
        };
        self.widgets.insert(id, widget);
        KernelMessage::Accepted
    }

    /// Sends what front ends do not know of a widget.
    fn send(&mut self, id: &str) {
        let Some(widget) = self.widgets.get_mut(id) else {
            return;
        };
        widget.sent = Instant::now();
        widget.now();
        let changes = std::mem::take(&mut widget.unsent);
        if let Some(out) = &self.out {
            out.comm_msg(message(id, content(&changes, Some("update"))));
        }
    }

    /// When the next of what waits is due.
    fn due(&self) -> Option<Instant> {
        let waiting = self.widgets.values();
        let waiting = waiting.filter(|widget| widget.waits());
        waiting
            .map(Widget::due)
            .chain(self.words_due.filter(|_| !self.cell_runs))
            .min()
    }

    /// Notes what a user did; `true` when somebody waits for it.
    pub(super) fn note(&mut self, id: &str, action: WidgetAction) -> bool {
        if !self.widgets.get(id).is_some_and(|one| one.is_observed) {
            return false;
        }
        let pending = self
            .events
            .iter_mut()
            .find_map(|event| match &mut event.action {
                WidgetAction::Changed(before) if event.id == id => Some(before),
                _ => None,
            });
        match (pending, action) {
            (Some(before), WidgetAction::Changed(now)) => before.extend(now),
            (_, action) => self.events.push_back(WidgetEvent {
                id: id.to_owned(),
                action,
            }),
        }
        true
    }
}

/// Sends what waits when it is due, until the widgets are gone.
fn send_what_waits(widgets: &Weak<Widgets>) {
    while let Some(widgets) = widgets.upgrade() {
        let mut state = widgets.lock();
        let now = Instant::now();
        let due = state.widgets.iter();
        let due = due.filter(|(_, one)| one.waits() && one.due() <= now);
        let due: Vec<String> = due.map(|(id, _)| id.clone()).collect();
        for id in due {
            state.send(&id);
        }
        state.renew_due_words();
        // Now and then it looks whether the kernel is still there.
        let pause = state.due().map_or(Duration::from_secs(1), |due| {
            due.saturating_duration_since(Instant::now())
        });
        let waited = widgets.waits.wait_timeout(state, pause);
        drop(waited);
    }
}

/// What is said over a widget's comm.
pub(super) fn message(id: &str, data: Map<String, Value>) -> Comm {
    Comm {
        id: id.to_owned(),
        data,
        ..Comm::default()
    }
}

/// Attributes in a message; all of them when it has no method.
pub(super) fn content(state: &WidgetState, method: Option<&str>) -> Map<String, Value> {
    let mut content = Map::new();
    if let Some(method) = method {
        content.insert("method".to_owned(), method.into());
    }
    content.insert("state".to_owned(), Value::Object(state.clone()));
    content.insert("buffer_paths".to_owned(), json!([]));
    content
}

fn unknown(id: &str) -> KernelMessage {
    KernelMessage::Refused(format!("there is no widget `{id}`: it was closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(widgets: &Widgets, id: &str) {
        let (id, state) = (id.to_owned(), WidgetState::new());
        let answer = widgets.carry_out(WidgetCall::Open { id, state });
        assert!(matches!(answer, KernelMessage::Accepted));
    }

    fn capture(widgets: &Widgets, id: Option<&str>) {
        let id = id.map(str::to_owned);
        widgets.carry_out(WidgetCall::Capture { id });
    }

    fn shown(widgets: &Widgets, id: &str) -> Value {
        let id = id.to_owned();
        match widgets.carry_out(WidgetCall::Read { id }) {
            KernelMessage::Widget(WidgetAnswer::State { mut state, .. }) => {
                state.remove("outputs").unwrap_or_default()
            }
            other => panic!("{other:?}"),
        }
    }

    /// What was cleared or shown inside a capture took the rest of it along to the cell.
    #[test]
    fn an_output_within_an_output_gives_way_to_the_outer_one() {
        let widgets = Widgets::start().expect("a thread");
        open(&widgets, "outer");
        open(&widgets, "inner");
        capture(&widgets, Some("outer"));
        capture(&widgets, Some("inner"));
        assert!(widgets.captures_stream(Stream::Stdout, "1"));
        capture(&widgets, None);
        assert!(widgets.captures_stream(Stream::Stdout, "2"));
        capture(&widgets, None);
        assert!(!widgets.captures_stream(Stream::Stdout, "3"));
        assert_eq!(shown(&widgets, "inner")[0]["text"], "1");
        assert_eq!(shown(&widgets, "outer")[0]["text"], "2");
        // A cell that died in the middle leaves none behind.
        capture(&widgets, Some("outer"));
        capture(&widgets, Some("inner"));
        widgets.release_output();
        assert!(!widgets.captures_stream(Stream::Stdout, "4"));
    }

    /// The change was sent twice when a click of another widget came between.
    #[test]
    fn of_a_widgets_changes_the_last_waits() {
        let widgets = Widgets::start().expect("a thread");
        for id in ["slider", "button"] {
            open(&widgets, id);
            widgets.carry_out(WidgetCall::Observe { id: id.to_owned() });
        }
        let changed = |value: i64| {
            WidgetAction::Changed(WidgetState::from_iter([("value".to_owned(), value.into())]))
        };
        let mut state = widgets.lock();
        assert!(state.note("slider", changed(1)));
        assert!(state.note("button", WidgetAction::Clicked));
        assert!(state.note("slider", changed(2)));
        assert!(state.note("button", WidgetAction::Clicked));
        let actions: Vec<_> = state.events.iter().map(|event| &event.action).collect();
        let expected = [&changed(2), &WidgetAction::Clicked, &WidgetAction::Clicked];
        assert_eq!(actions, expected);
    }
}
