//! The list of models as widgets: a row each with buttons that free it or keep it. What they do the kernel
//! does on a thread of its own, so that they work while a cell runs.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    thread,
};

use ::host::{HostError, client};
use display::{
    MODELS_LEGEND, RichDisplay, host_summary, html, resident_line,
    widgets::{Kind, reference, view},
};
use jupyter::Publisher;
use serde_json::{Value, json};
use wire::{
    host::{HostStatus, Request, UnloadTarget},
    hub::HubVariables,
    model::{ModelSpec, Resident},
    widget::{WidgetCall, WidgetState},
};

use crate::widgets::Widgets;

/// A list on the page.
pub(super) struct ModelsPanel {
    widgets: Arc<Widgets>,
    out: Publisher,
    socket: PathBuf,
    /// The widget around all, and what the names of the others begin with.
    id: String,
    rows: Mutex<Rows>,
}

#[derive(Default)]
struct Rows {
    /// How often they were drawn: widgets that are closed give no name to new ones.
    drawn: usize,
    /// The widgets in them.
    open: Vec<String>,
}

#[derive(Clone, Copy)]
enum Action {
    Unload,
    Pin(bool),
}

impl Action {
    /// What the button says, before and after it was pressed, and what it is for.
    fn words(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Unload => ("Unload", "Unloading", "Free it for all notebooks"),
            Self::Pin(true) => ("Pin", "Pinning", "Keep it when another needs room"),
            Self::Pin(false) => ("Unpin", "Unpinning", "It may give way to another"),
        }
    }

    fn carry_out(self, socket: &Path, model: ModelSpec) -> Result<(), HostError> {
        match self {
            Self::Unload => client::unload(socket, UnloadTarget::Spec(model)).map(drop),
            Self::Pin(pinned) => {
                let request = Request::Pin { model, pinned };
                let hub = HubVariables::default();
                client::request(socket, "", request, hub, &mut |_| {}).map(drop)
            }
        }
    }
}

impl ModelsPanel {
    /// Shows it.
    pub fn open(
        (widgets, out): (&Arc<Widgets>, &Publisher),
        socket: &Path,
        status: &HostStatus,
    ) -> Arc<Self> {
        let panel = Arc::new(Self {
            widgets: Arc::clone(widgets),
            out: out.clone(),
            socket: socket.to_owned(),
            id: format!("models-{}", uuid::Uuid::new_v4().simple()),
            rows: Mutex::default(),
        });
        let wide = panel.part("wide");
        panel.make(wide.clone(), Kind::Layout, json!({ "width": "100%" }));
        // As wide in each row, however long its line is.
        let narrow = json!({ "width": "80px", "flex": "0 0 auto" });
        panel.make(panel.part("narrow"), Kind::Layout, narrow);
        panel.make(panel.part("said"), Kind::Html, json!({ "value": "" }));
        let legend = format!("<small>{MODELS_LEGEND}</small>");
        panel.make(panel.part("legend"), Kind::Html, json!({ "value": legend }));
        let layout = reference(&wide);
        panel.make(
            panel.id.clone(),
            Kind::VBox,
            json!({ "children": [], "layout": layout }),
        );
        panel.draw(status);
        let bundle = view(&panel.id, status.bundle());
        panel.out.display(bundle, Some(&panel.display_id()));
        panel
    }

    /// Leaves the table in its place, as another list takes over.
    pub fn retire(&self, status: &HostStatus) {
        let bundle = status.bundle();
        self.out.update_display(bundle, &self.display_id());
        let rows = std::mem::take(&mut self.rows().open);
        let own = ["said", "legend", "narrow", "wide"].map(|part| self.part(part));
        for id in rows.into_iter().chain([self.id.clone()]).chain(own) {
            self.widgets.carry_out(WidgetCall::Close { id });
        }
    }

    /// Draws the rows anew.
    fn draw(self: &Arc<Self>, status: &HostStatus) {
        let mut rows = self.rows();
        rows.drawn += 1;
        let old = std::mem::take(&mut rows.open);
        let head = format!("{}-{}", self.id, rows.drawn);
        self.make(
            head.clone(),
            Kind::Html,
            json!({ "value": html::figures(&host_summary(status)) }),
        );
        rows.open.push(head.clone());
        let mut children = vec![reference(&head)];
        for (index, model) in status.models.iter().enumerate() {
            let made = self.row(&format!("{head}-{index}"), model);
            children.extend(made.first().map(|row| reference(row)));
            rows.open.extend(made);
        }
        children.extend(["legend", "said"].map(|part| reference(&self.part(part))));
        self.tell(self.id.clone(), &json!({ "children": children }));
        self.widgets.flush();
        for id in old {
            self.widgets.carry_out(WidgetCall::Close { id });
        }
    }

    /// A row's widgets, the outermost first.
    fn row(self: &Arc<Self>, id: &str, model: &Resident) -> Vec<String> {
        let name = format!("{id}-name");
        let line = html::figures(&resident_line(model));
        self.make(name.clone(), Kind::Html, json!({ "value": line }));
        let mut ids = vec![id.to_owned(), name.clone()];
        let mut children = Vec::new();
        for (part, action) in [
            ("unload", Action::Unload),
            ("pin", Action::Pin(!model.pinned)),
        ] {
            let button = format!("{id}-{part}");
            let (word, _, purpose) = action.words();
            let tooltip = format!("{purpose}: {}", model.info.name);
            let state = json!({
                "description": word,
                "tooltip": tooltip,
                "layout": reference(&self.part("narrow")),
            });
            self.make(button.clone(), Kind::Button, state);
            self.listen(&button, action, &model.spec);
            children.push(reference(&button));
            ids.push(button);
        }
        children.push(reference(&name));
        self.make(id.to_owned(), Kind::HBox, json!({ "children": children }));
        ids
    }

    fn listen(self: &Arc<Self>, button: &str, action: Action, model: &ModelSpec) {
        let panel = Arc::downgrade(self);
        let (id, model) = (button.to_owned(), model.clone());
        self.widgets.on_click(button, move || {
            let (panel, id, model) = (Weak::clone(&panel), id.clone(), model.clone());
            let work = move || {
                if let Some(panel) = panel.upgrade() {
                    panel.press(&id, action, model);
                }
            };
            // Without a thread nothing happens, and the button can be pressed again.
            let _ = thread::Builder::new().name("models".to_owned()).spawn(work);
        });
    }

    fn press(self: &Arc<Self>, button: &str, action: Action, model: ModelSpec) {
        let (_, doing, _) = action.words();
        let busy = json!({ "description": doing, "disabled": true });
        self.tell(button.to_owned(), &busy);
        let done = action.carry_out(&self.socket, model);
        let status = done.and_then(|()| client::status(&self.socket));
        let said = match status {
            Ok(Some(status)) => {
                self.draw(&status);
                let bundle = view(&self.id, status.bundle());
                self.out.update_display(bundle, &self.display_id());
                String::new()
            }
            Ok(None) => "no model in memory: no model host runs".to_owned(),
            Err(failure) => {
                let (word, _, _) = action.words();
                let again = json!({ "description": word, "disabled": false });
                self.tell(button.to_owned(), &again);
                html::escape(&failure.to_string())
            }
        };
        self.tell(self.part("said"), &json!({ "value": said }));
    }

    fn rows(&self) -> std::sync::MutexGuard<'_, Rows> {
        self.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn part(&self, name: &str) -> String {
        format!("{}-{name}", self.id)
    }

    fn display_id(&self) -> String {
        format!("warmcell-{}", self.id)
    }

    fn make(&self, id: String, kind: Kind, attributes: Value) {
        let state = kind.state(attributes);
        self.widgets.carry_out(WidgetCall::Open { id, state });
    }

    fn tell(&self, id: String, attributes: &Value) {
        let state = attributes.as_object().cloned();
        let state: WidgetState = state.unwrap_or_default();
        self.widgets.carry_out(WidgetCall::Update { id, state });
    }
}
