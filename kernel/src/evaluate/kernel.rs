//! One kernel: its session, its control, and the protocol's loop around the language.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result, anyhow};
use jupyter::{
    Afterwards, Comm, Completeness, Completions, Control, KernelInfo, Language, LanguageInfo,
    Publisher, Settings,
};
use wire::mime::Bundle;

use super::{
    completeness,
    context::{self, Surroundings},
    interrupt::Interrupter,
    language::{self, Rust},
    session::{self, Session},
    template::Template,
};
use crate::{
    commands::{Assistant, Commands, Notebook, Patience, Place},
    widgets::Widgets,
};

/// Serves the front end of `connection_file` until it asks for the end.
pub fn run(connection_file: &Path, data: &Path) -> Result<()> {
    let host_socket = host::default_socket();
    let id = session::new_id();
    let interrupter = Arc::new(Interrupter::new(id.clone(), host_socket.clone()));
    let widgets = Widgets::start().context("cannot start a thread")?;
    // Now: while evcxr is coming up, this process is in another folder for a moment.
    let folders = folders(&id, &host_socket);
    let (session_dir, working_dir) = match &folders {
        Ok(folders) => folders.clone(),
        Err(_) => (PathBuf::new(), PathBuf::new()),
    };
    let assistant = Arc::new(Assistant::new(Place {
        session: id.clone(),
        session_dir,
        host_socket: host_socket.clone(),
        working_dir,
    }));
    let control = Arc::new(RustControl {
        interrupter: Arc::clone(&interrupter),
        assistant: Arc::clone(&assistant),
        widgets: Arc::clone(&widgets),
    });
    let settings = Settings {
        connection_file: connection_file.to_owned(),
        history_file: Some(data.join("history.jsonl")),
    };
    let data = data.to_owned();
    // Commands answer at once, and Rust comes up beside them. What fails in here is told by every cell,
    // where a user looks; a kernel that ends tells nobody.
    let language = move |out: Publisher| {
        widgets.publish_by(Some(out));
        if let Err(error) = folders {
            return Err(language::unusable(&error));
        }
        let stop = Arc::clone(&interrupter);
        let shared = Arc::clone(&widgets);
        let helper = Arc::clone(&assistant);
        let rust = move || {
            open(id, &data, host_socket, interrupter, widgets)
                .map(|rust| {
                    helper.ask_about_rust(&rust.analysis());
                    Box::new(rust) as Box<dyn Notebook>
                })
                .map_err(|error| language::unusable(&error))
        };
        Commands::start(assistant, stop, shared, rust)
            .map(|commands| Box::new(commands) as Box<dyn Language>)
            .map_err(|error| language::unusable(&anyhow!(error).context("cannot start a thread")))
    };
    jupyter::run(&settings, control, language)?;
    Ok(())
}

/// The folder of the session's pipes and socket, and the one in which cells start.
fn folders(id: &str, host_socket: &Path) -> Result<(PathBuf, PathBuf)> {
    let session = Session::runtime_folder(id, &host::prepare_folder(host_socket)?);
    let working = std::env::current_dir().context("the current folder is gone")?;
    Ok((session, working))
}

fn open(
    id: String,
    data: &Path,
    host_socket: PathBuf,
    interrupter: Arc<Interrupter>,
    widgets: Arc<Widgets>,
) -> Result<Rust> {
    let runtime = host::prepare_folder(&host_socket)?;
    let session =
        Session::create(id, &runtime, data).context("cannot make the kernel's folders")?;
    Rust::open(session, data, host_socket, interrupter, widgets)
}

/// Builds the library for cells, unless that was done.
pub fn build_template(data: &Path) -> Result<()> {
    let template = Template::locate(data)?;
    if template.is_built() {
        return Ok(());
    }
    let host_socket = host::default_socket();
    let runtime = host::prepare_folder(&host_socket)?;
    let session = Session::create(session::new_id(), &runtime, data)
        .context("cannot make a folder to build in")?;
    let surroundings = Surroundings::of(&session, host_socket, data)?;
    // The runner writes into the session's pipes: someone has to hold them open.
    let _pump = super::output::Pump::start(session.runtime_dir(), Arc::new(super::sink::Nowhere))?;
    template.build(|folder| context::compile_template(&template, folder, &surroundings))
}

/// Whether [`build_template`] has nothing to do.
pub fn template_is_built(data: &Path) -> Result<bool> {
    Ok(Template::locate(data)?.is_built())
}

struct RustControl {
    interrupter: Arc<Interrupter>,
    assistant: Arc<Assistant>,
    widgets: Arc<Widgets>,
}

impl Control for RustControl {
    fn info(&self) -> KernelInfo {
        KernelInfo {
            implementation: "warmcell".to_owned(),
            implementation_version: env!("CARGO_PKG_VERSION").to_owned(),
            language: LanguageInfo {
                name: "rust".to_owned(),
                version: toolchain_version(),
                mimetype: "text/rust".to_owned(),
                file_extension: ".rs".to_owned(),
                pygments_lexer: Some("rust".to_owned()),
                codemirror_mode: Some("rust".to_owned()),
            },
            banner: format!(
                "Warmcell {}: Rust cells, open models that stay loaded",
                env!("CARGO_PKG_VERSION")
            ),
            help_links: vec![(
                "Rust".to_owned(),
                "https://doc.rust-lang.org/book/".to_owned(),
            )],
        }
    }

    fn is_complete(&self, code: &str) -> Completeness {
        completeness::judge(code, &|name| self.assistant.knows(name))
    }

    fn complete(&self, code: &str, cursor: usize) -> Completions {
        self.assistant.complete(code, cursor)
    }

    fn inspect(&self, code: &str, cursor: usize, _detail: u8) -> Option<Bundle> {
        self.assistant.inspect(code, cursor, Patience::TYPING)
    }

    fn cell_begins(&self) {
        self.widgets.cell_runs(true);
        self.interrupter.expect_cell();
    }

    fn cell_ended(&self) {
        self.widgets.cell_runs(false);
        self.widgets.flush();
        self.interrupter.expect_none();
    }

    fn interrupt(&self) {
        self.interrupter.interrupt();
    }

    fn comms_listed(&self, target: Option<&str>) {
        self.widgets.comms_listed(target);
    }

    fn comm_open(&self, _comm: &Comm, target: &str, _out: &Publisher) -> bool {
        self.widgets.comm_open(target)
    }

    fn comm_msg(&self, comm: &Comm, out: &Publisher) -> Afterwards {
        self.widgets.comm_msg(comm, out)
    }

    fn comm_close(&self, comm: &Comm, _out: &Publisher) {
        self.widgets.comm_close(comm);
    }

    fn shutdown(&self, _restart: bool) {
        // The language is dropped next, and with it evcxr, the runner and the session's folders.
        self.interrupter.interrupt();
    }
}

/// The oldest version of Rust that this program is built for. Cells are compiled by the machine's own,
/// which may be newer; asking it takes longer than `kernel_info` may.
fn toolchain_version() -> String {
    env!("CARGO_PKG_RUST_VERSION").to_owned()
}
