//! A fake front end over real sockets, with the kernel in a thread of this process. It fails on
//! every message that the test did not claim: `finish` shuts the kernel down and finds what is
//! left on any channel.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use jupyter::{CellError, Error, ExitReason, Language, Settings};
use jupyter_protocol::connection_info::Transport;
use jupyter_protocol::messaging::{
    ExecuteRequest, JupyterMessage, JupyterMessageContent, ShutdownRequest, UnknownMessage,
};
use jupyter_protocol::{ConnectionInfo, Header, KernelInfoRequest};
use jupyter_zmq_client::{
    ClientControlConnection, ClientHeartbeatConnection, ClientIoPubConnection,
    ClientShellConnection, ClientStdinConnection, Connection, RawMessage,
    create_client_control_connection, create_client_heartbeat_connection,
    create_client_iopub_connection, create_client_shell_connection_with_identity,
    create_client_stdin_connection_with_identity, peer_identity_for_session,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;
use zeromq::SocketRecv;

use crate::echo::EchoControl;

/// A message as it came: content that a typed message would tidy up is what tests are about.
pub struct Message {
    pub header: Header,
    /// The id of the request that the message belongs to; empty if to none.
    pub parent: String,
    pub content: Value,
}

/// Waits for the next message and checks its signature.
pub async fn read<S: SocketRecv>(connection: &mut Connection<S>) -> Message {
    let multipart = timeout(PATIENCE, connection.socket.recv())
        .await
        .expect("no message");
    let raw = RawMessage::from_multipart(multipart.unwrap(), &connection.mac).unwrap();
    let header: Header = serde_json::from_slice(&raw.jparts[0]).unwrap();
    assert_eq!(header.version, jupyter::PROTOCOL_VERSION);
    let parent: Value = serde_json::from_slice(&raw.jparts[1]).unwrap();
    let parent = parent["msg_id"].as_str().unwrap_or_default().to_owned();
    Message {
        header,
        parent,
        content: serde_json::from_slice(&raw.jparts[3]).unwrap(),
    }
}

/// No answer takes longer, unless it is missing.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// What is still on a channel this long after the shutdown was not claimed.
const SILENCE: Duration = Duration::from_millis(100);

pub struct FrontEnd {
    pub info: ConnectionInfo,
    pub shell: ClientShellConnection,
    pub control: ClientControlConnection,
    pub stdin: ClientStdinConnection,
    pub iopub: ClientIoPubConnection,
    pub heartbeat: ClientHeartbeatConnection,
    pub folder: TempDir,
    kernel: Option<JoinHandle<Result<ExitReason, Error>>>,
}

/// How to start a kernel.
pub struct Start {
    pub transport: Transport,
    /// How long the language takes to be made.
    pub delay: Duration,
    /// Whether it cannot be made.
    pub broken: bool,
    pub history_file: Option<PathBuf>,
}

impl Default for Start {
    fn default() -> Self {
        Self {
            transport: Transport::TCP,
            delay: Duration::ZERO,
            broken: false,
            history_file: None,
        }
    }
}

impl Start {
    /// Starts the kernel and connects to it; claims the welcome and the first status.
    pub async fn start(self) -> FrontEnd {
        let folder = tempfile::tempdir().unwrap();
        let info = connection_info(&self.transport, &folder);
        let connection_file = folder.path().join("connection.json");
        std::fs::write(&connection_file, serde_json::to_string(&info).unwrap()).unwrap();
        // As Jupyter writes it, whatever the umask.
        std::fs::set_permissions(&connection_file, std::fs::Permissions::from_mode(0o600)).unwrap();

        let settings = Settings {
            connection_file,
            history_file: self.history_file,
        };
        let (delay, broken) = (self.delay, self.broken);
        let kernel = std::thread::spawn(move || {
            let control = Arc::new(EchoControl::default());
            let language = control.language();
            jupyter::run(&settings, control, move |_out| {
                std::thread::sleep(delay);
                if broken {
                    return Err(CellError {
                        ename: "Broken".to_owned(),
                        evalue: "no toolchain".to_owned(),
                        traceback: vec![],
                    });
                }
                Ok(Box::new(language) as Box<dyn Language>)
            })
        });
        let mut front_end = FrontEnd::connect(info, folder).await;
        front_end.kernel = Some(kernel);
        assert_eq!(
            front_end.next_iopub().await,
            r#"iopub_welcome {"subscription":""}"#
        );
        assert_eq!(front_end.next_iopub().await, "status starting");
        front_end
    }
}

/// A port that no other kernel of these tests was given, below those that the system hands out: one
/// that was free a moment ago may by now be another test's.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = 10_000 + (std::process::id() % 40) as u16 * 500;
    loop {
        let port = first + NEXT.fetch_add(1, Ordering::Relaxed);
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn connection_info(transport: &Transport, folder: &TempDir) -> ConnectionInfo {
    let ip = match transport {
        Transport::TCP => "127.0.0.1".to_owned(),
        Transport::IPC => folder
            .path()
            .join("kernel-ipc")
            .to_str()
            .unwrap()
            .to_owned(),
    };
    let ports = match transport {
        Transport::TCP => (0..5).map(|_| free_port()).collect(),
        Transport::IPC => vec![1, 2, 3, 4, 5],
    };
    ConnectionInfo {
        ip,
        transport: transport.clone(),
        shell_port: ports[0],
        iopub_port: ports[1],
        stdin_port: ports[2],
        control_port: ports[3],
        hb_port: ports[4],
        key: uuid::Uuid::new_v4().to_string(),
        signature_scheme: "hmac-sha256".to_owned(),
        kernel_name: None,
    }
}

impl FrontEnd {
    async fn connect(info: ConnectionInfo, folder: TempDir) -> Self {
        let id = peer_identity_for_session("front-end").unwrap();
        let (i, s) = (&info, "front-end");
        let shell = create_client_shell_connection_with_identity(i, s, id.clone())
            .await
            .unwrap();
        let stdin = create_client_stdin_connection_with_identity(i, s, id)
            .await
            .unwrap();
        let control = create_client_control_connection(i, s).await.unwrap();
        let iopub = create_client_iopub_connection(i, "", s).await.unwrap();
        let heartbeat = create_client_heartbeat_connection(i).await.unwrap();
        Self {
            info,
            shell,
            control,
            stdin,
            iopub,
            heartbeat,
            folder,
            kernel: None,
        }
    }

    /// A kernel over tcp.
    pub async fn start() -> Self {
        Start::default().start().await
    }

    /// Sends a request over shell and returns its id.
    pub async fn send(&mut self, content: impl Into<JupyterMessageContent>) -> String {
        let message = JupyterMessage::new(content, None);
        let id = message.header.msg_id.clone();
        self.shell.send(message).await.unwrap();
        id
    }

    /// Sends a request over shell of a type and content that need not be right.
    pub async fn send_json(&mut self, msg_type: &str, content: Value) -> String {
        self.send(UnknownMessage {
            msg_type: msg_type.to_owned(),
            content,
        })
        .await
    }

    /// Sends a request over control and returns its id.
    pub async fn send_control(&mut self, content: impl Into<JupyterMessageContent>) -> String {
        let message = JupyterMessage::new(content, None);
        let id = message.header.msg_id.clone();
        self.control.send(message).await.unwrap();
        id
    }

    /// Asks for a cell to be run, as `JupyterLab` does.
    pub async fn execute(&mut self, code: &str) -> String {
        self.send(cell(code)).await
    }

    /// The next reply on shell, which must be for `id`.
    pub async fn reply(&mut self, id: &str) -> Value {
        content_for(read(&mut self.shell).await, id)
    }

    /// The next reply on control, which must be for `id`.
    pub async fn control_reply(&mut self, id: &str) -> Value {
        content_for(read(&mut self.control).await, id)
    }

    /// The next message on iopub, whoever it belongs to, as [`describe`] says.
    pub async fn next_iopub(&mut self) -> String {
        describe(&read(&mut self.iopub).await)
    }

    /// All that is published until the request is done; all of it must belong to the request.
    pub async fn until_idle(&mut self, id: &str) -> Vec<String> {
        let mut seen = Vec::new();
        loop {
            let message = read(&mut self.iopub).await;
            assert_eq!(message.parent, id, "{}", describe(&message));
            seen.push(describe(&message));
            if seen.last().is_some_and(|last| last == "status idle") {
                return seen;
            }
        }
    }

    /// Runs a cell; what was published and the reply.
    pub async fn run(&mut self, code: &str) -> (Vec<String>, Value) {
        let id = self.execute(code).await;
        let published = self.until_idle(&id).await;
        (published, self.reply(&id).await)
    }

    /// Shuts the kernel down and fails on what was not claimed.
    pub async fn finish(mut self) -> ExitReason {
        let id = self.send_control(ShutdownRequest { restart: false }).await;
        assert_eq!(
            self.control_reply(&id).await,
            json!({ "status": "ok", "restart": false })
        );
        assert_eq!(self.until_idle(&id).await, ["status busy", "status idle"]);
        let reason = self.join();
        assert_silent("iopub", &mut self.iopub).await;
        assert_silent("shell", &mut self.shell).await;
        assert_silent("stdin", &mut self.stdin).await;
        assert_silent("control", &mut self.control).await;
        reason
    }

    /// Waits for the kernel's thread.
    pub fn join(&mut self) -> ExitReason {
        self.kernel.take().unwrap().join().unwrap().unwrap()
    }

    /// Asks something that is always answered, and claims the answer.
    pub async fn assert_alive(&mut self) {
        let id = self.send(KernelInfoRequest {}).await;
        assert_eq!(self.reply(&id).await["status"], "ok");
        assert_eq!(self.until_idle(&id).await, ["status busy", "status idle"]);
    }
}

/// A request to run a cell, as `JupyterLab` sends it.
pub fn cell(code: &str) -> ExecuteRequest {
    ExecuteRequest {
        code: code.to_owned(),
        allow_stdin: true,
        ..ExecuteRequest::default()
    }
}

async fn assert_silent<S: SocketRecv>(channel: &str, connection: &mut Connection<S>) {
    let left = timeout(SILENCE, read(connection))
        .await
        .map(|message| describe(&message));
    assert!(left.is_err(), "unclaimed on {channel}: {left:?}");
}

fn content_for(message: Message, id: &str) -> Value {
    assert_eq!(message.parent, id, "{}", describe(&message));
    message.content
}

/// A message in one line: its type and content.
pub fn describe(message: &Message) -> String {
    let content = &message.content;
    match message.header.msg_type.as_str() {
        "status" => format!("status {}", content["execution_state"].as_str().unwrap()),
        "stream" => format!("{} {}", content["name"].as_str().unwrap(), content["text"]),
        msg_type => format!("{msg_type} {content}"),
    }
}
