//! A kernel from its connection file to its end: opens the sockets, starts the channels and the
//! execution thread, waits for a reason to leave, and leaves without losing a message.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jupyter_protocol::ConnectionInfo;
use jupyter_zmq_client::{
    Connection, KernelControlConnection, KernelShellConnection, KernelStdinConnection,
};
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::{sleep, timeout};
use uuid::Uuid;
use zeromq::{RepSocket, RouterSocket, Socket};

use crate::assistance::Assistance;
use crate::channel::{control, heartbeat, shell, stdin::Stdin};
use crate::connection;
use crate::error::Error;
use crate::execution;
use crate::history::History;
use crate::iopub::IoPub;
use crate::language::{CellError, Control, Language};
use crate::lifetime::{self, Signals};
use crate::message::Replies;
use crate::publisher::Publisher;
use crate::session::Session;
use crate::xpub::Xpub;

/// How long the execution thread may take to end.
const LANGUAGE_END: Duration = Duration::from_secs(2);

/// How long the sockets of `zeromq` stay open after the last message: it has no linger, and tells
/// nobody when a message is written. Replies are small, and written within a millisecond.
const ROUTER_LINGER: Duration = Duration::from_millis(100);

/// What a kernel is started with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The connection file that the client wrote (`{connection_file}` in a kernelspec).
    pub connection_file: PathBuf,
    /// Where the history of inputs is kept; nowhere if absent.
    pub history_file: Option<PathBuf>,
}

/// Why a kernel left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitReason {
    /// A client asked for it.
    Shutdown {
        /// Whether a new kernel will be started in its place.
        restart: bool,
    },
    /// SIGTERM or SIGHUP.
    Terminated,
    /// The server that started it is gone.
    ParentGone,
}

/// Runs a kernel until it is told to leave.
///
/// `language` is called on the execution thread with the way to publish. It may take its time:
/// until it returns, what does not need the language is answered, and cells wait. If it fails,
/// each cell is answered with the error.
///
/// To be called on a thread outside any asynchronous runtime. SIGINT, SIGTERM and SIGHUP are handled from
/// here on, for the whole process. After the return, the execution thread may still be in a cell
/// that did not listen; the process is expected to end.
pub fn run<L>(
    settings: &Settings,
    control: Arc<dyn Control>,
    language: L,
) -> Result<ExitReason, Error>
where
    L: FnOnce(Publisher) -> Result<Box<dyn Language>, CellError> + Send + 'static,
{
    let info = connection::read(&settings.connection_file)?;
    let history = History::open(settings.history_file.as_deref());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("jupyter")
        .enable_all()
        .build()
        .map_err(Error::Threads)?;
    let reason = runtime.block_on(serve(&info, history, control, language));
    runtime.shutdown_timeout(Duration::from_millis(100));
    reason
}

async fn serve<L>(
    info: &ConnectionInfo,
    history: History,
    control: Arc<dyn Control>,
    language: L,
) -> Result<ExitReason, Error>
where
    L: FnOnce(Publisher) -> Result<Box<dyn Language>, CellError> + Send + 'static,
{
    let sockets = Sockets::open(info).await?;
    let mut signals = Signals::listen().map_err(Error::Threads)?;
    let (shell_sender, shell_receiver) = sockets.shell.split();
    let session = Arc::new(Session::new(
        control,
        history,
        IoPub::start(sockets.iopub),
        Replies::new(shell_sender),
        Stdin::start(sockets.stdin),
        ports(info),
    ));
    let (exit, mut exits) = mpsc::unbounded_channel();
    let assistance = Assistance::start(&session, Handle::current()).map_err(Error::Threads)?;
    let channels = [
        tokio::spawn(heartbeat::run(sockets.heartbeat)).abort_handle(),
        tokio::spawn(shell::run(
            Arc::clone(&session),
            shell_receiver,
            assistance,
            exit.clone(),
        ))
        .abort_handle(),
        tokio::spawn(control::run(Arc::clone(&session), sockets.control, exit)).abort_handle(),
    ];
    let language_end = execution::start(Arc::clone(&session), Handle::current(), language)
        .map_err(Error::Threads)?;

    let reason = wait_for_exit(&session, &mut signals, &mut exits).await;
    if timeout(LANGUAGE_END, language_end).await.is_err() {
        tracing::warn!("the language does not end: leaving without it");
    }
    close(&session, &channels, info).await;
    Ok(reason)
}

async fn wait_for_exit(
    session: &Arc<Session>,
    signals: &mut Signals,
    exits: &mut mpsc::UnboundedReceiver<ExitReason>,
) -> ExitReason {
    let reason = loop {
        tokio::select! {
            // Told by a channel, which has already ended the language and answered.
            Some(reason) = exits.recv() => return reason,
            signal = signals.next() => match signal {
                lifetime::Request::Interrupt => control::interrupt(session).await,
                lifetime::Request::Terminate => break ExitReason::Terminated,
            },
            () = lifetime::parent_gone() => break ExitReason::ParentGone,
        }
    };
    control::end(session, false).await;
    reason
}

/// Sends what was published and closes the sockets.
async fn close(session: &Session, channels: &[AbortHandle], info: &ConnectionInfo) {
    session.iopub.close().await;
    sleep(ROUTER_LINGER).await;
    for channel in channels {
        channel.abort();
    }
    for endpoint in endpoints(info) {
        if let Some(path) = connection::ipc_path(&endpoint) {
            let _ = std::fs::remove_file(path);
        }
    }
}

struct Sockets {
    heartbeat: RepSocket,
    shell: KernelShellConnection,
    control: KernelControlConnection,
    stdin: KernelStdinConnection,
    iopub: Connection<Xpub>,
}

impl Sockets {
    async fn open(info: &ConnectionInfo) -> Result<Self, Error> {
        for endpoint in endpoints(info) {
            connection::clear_stale(&endpoint);
        }
        let session_id = Uuid::new_v4().to_string();
        let connect = |socket| Connection::new(socket, &info.key, &session_id);
        let mut heartbeat = RepSocket::new();
        bind(&mut heartbeat, "heartbeat", &info.hb_url()).await?;
        let mut routers = [
            RouterSocket::new(),
            RouterSocket::new(),
            RouterSocket::new(),
        ];
        let channels = [
            ("shell", info.shell_url()),
            ("control", info.control_url()),
            ("stdin", info.stdin_url()),
        ];
        for (router, (channel, endpoint)) in routers.iter_mut().zip(channels) {
            bind(router, channel, &endpoint).await?;
        }
        let [shell, control, stdin] = routers.map(connect);
        let endpoint = info.iopub_url();
        let iopub = Xpub::bind(&endpoint).await;
        let iopub = iopub.map_err(|error| bind_error("iopub", &endpoint, &error))?;
        connection::restrict(&endpoint).map_err(|error| bind_error("iopub", &endpoint, &error))?;
        // `Connection::new` is for the sockets of `zeromq` only.
        let iopub = Connection {
            socket: iopub,
            mac: shell.mac.clone(),
            session_id: session_id.clone(),
        };
        Ok(Self {
            heartbeat,
            shell,
            control,
            stdin,
            iopub,
        })
    }
}

async fn bind<S: Socket>(
    socket: &mut S,
    channel: &'static str,
    endpoint: &str,
) -> Result<(), Error> {
    socket
        .bind(endpoint)
        .await
        .map_err(|error| bind_error(channel, endpoint, &error))?;
    connection::restrict(endpoint).map_err(|error| bind_error(channel, endpoint, &error))
}

fn bind_error(channel: &'static str, endpoint: &str, error: &dyn std::error::Error) -> Error {
    Error::Bind {
        channel,
        endpoint: endpoint.to_owned(),
        message: error.to_string(),
    }
}

fn endpoints(info: &ConnectionInfo) -> [String; 5] {
    [
        info.shell_url(),
        info.control_url(),
        info.stdin_url(),
        info.iopub_url(),
        info.hb_url(),
    ]
}

/// The content of a `connect_reply`.
fn ports(info: &ConnectionInfo) -> serde_json::Value {
    json!({
        "status": "ok", "shell_port": info.shell_port, "iopub_port": info.iopub_port,
        "stdin_port": info.stdin_port, "hb_port": info.hb_port, "control_port": info.control_port,
    })
}
