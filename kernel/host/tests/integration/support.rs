//! A host and cells as processes in a folder of their own, and a raw client.

use std::{
    fs::{self, Permissions},
    io::{self, Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use wire::{
    PROTOCOL_VERSION, frame,
    host::{ClientMessage, Event, Hello, HostMessage, Request, Welcome},
    hub::HubVariables,
    model::{Activations, Device, ModelSource, ModelSpec},
};

/// Nothing here takes a tenth of this on an idle machine.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub struct Place {
    pub folder: TempDir,
}

impl Place {
    pub fn new() -> Self {
        let folder = TempDir::new().expect("a folder");
        fs::set_permissions(folder.path(), Permissions::from_mode(0o700)).expect("mode");
        Self { folder }
    }

    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("host.sock")
    }

    /// Starts the toy host and waits until it listens.
    pub fn start_host(&self) -> Process {
        self.start_host_with(&[])
    }

    pub fn start_host_with(&self, variables: &[(&str, &str)]) -> Process {
        let host = self.spawn_host(variables);
        wait_for("the host listens", || {
            UnixStream::connect(self.socket()).is_ok()
        });
        host
    }

    pub fn spawn_host(&self, variables: &[(&str, &str)]) -> Process {
        let mut command = Command::new(example("toy_host"));
        command
            .args(["host", "serve"])
            .env(wire::HOST_SOCKET_VAR, self.socket())
            .envs(variables.iter().copied());
        Process(
            command
                .stdin(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .expect("the toy host starts"),
        )
    }

    /// A cell, with the toy host as the host that it starts.
    pub fn cell(&self, script: &str) -> Command {
        let mut command = Command::new(example("toy_cell"));
        command
            .arg(script)
            .env(wire::HOST_SOCKET_VAR, self.socket())
            .env(wire::BINARY_VAR, example("toy_host"));
        command
            .env_remove(wire::KERNEL_SOCKET_VAR)
            .stdin(Stdio::null());
        command
    }

    pub fn run_cell(&self, script: &str) -> String {
        printed(&self.cell(script).output().expect("the cell starts"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = host::client::stop(&self.socket());
    }
}

pub fn printed(output: &Output) -> String {
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    format!("{out}{err}")
}

/// A process that does not outlive its test.
pub struct Process(pub Child);

impl Process {
    /// Waits for its end, and gives whether it ended well.
    pub fn ends(&mut self) -> bool {
        let mut status = None;
        wait_for("the process ends", || {
            status = self.0.try_wait().expect("is a child");
            status.is_some()
        });
        status.is_some_and(|status| status.success())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn wait_for(what: &str, mut happened: impl FnMut() -> bool) {
    let limit = Instant::now() + PATIENCE;
    while !happened() {
        assert!(Instant::now() < limit, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// cargo builds examples beside the tests: `release/deps/integration-…` and `release/examples/…`.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let release = test
        .parent()
        .and_then(Path::parent)
        .expect("tests lie in target/<profile>/deps");
    let path = release.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is missing: run all of `cargo test -p warmcell-host`",
        path.display()
    );
    path
}

pub fn spec(name: &str) -> ModelSpec {
    ModelSpec {
        source: ModelSource::new(name),
        dtype: None,
        auto_dtype: false,
        device_map: Device::Auto.into(),
        quantization: None,
        activations: Activations::F32,
        cache_dtype: None,
    }
}

/// A client that says exactly what it is told to.
pub struct Client {
    stream: UnixStream,
    decoder: frame::Decoder,
}

impl Client {
    pub fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("the host listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Self {
            stream,
            decoder: frame::Decoder::default(),
        }
    }

    /// Connects and says hello.
    pub fn greeted(socket: &Path, session: &str) -> Self {
        let mut client = Self::connect(socket);
        client.hello(PROTOCOL_VERSION, session);
        client
    }

    pub fn hello(&mut self, protocol: u32, session: &str) -> Welcome {
        self.send(&ClientMessage::Hello(Hello {
            protocol,
            session: session.to_owned(),
        }));
        match self.receive().expect("a greeting") {
            HostMessage::Welcome(welcome) => welcome,
            other @ HostMessage::Event { .. } => panic!("{other:?} before the greeting"),
        }
    }

    pub fn send(&mut self, message: &ClientMessage) {
        self.stream
            .write_all(&frame::encode(message).expect("encodes"))
            .expect("the host reads");
    }

    pub fn request(&mut self, id: u64, request: Request) {
        self.send(&ClientMessage::Request {
            id,
            request,
            hub: HubVariables::default(),
        });
    }

    pub fn receive(&mut self) -> io::Result<HostMessage> {
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.decoder.next().expect("decodes") {
                return Ok(message);
            }
            match self.stream.read(&mut buffer)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                length => self.decoder.push(&buffer[..length]),
            }
        }
    }

    /// The next event of this request; events of others fail the test.
    pub fn event(&mut self, request: u64) -> Event {
        match self.receive().expect("an event") {
            HostMessage::Event { id, event } if id == request => event,
            other => panic!("{other:?} is not of request {request}"),
        }
    }

    /// The last event of this request, and how many came before it.
    pub fn last_event(&mut self, request: u64) -> (Event, usize) {
        for before in 0.. {
            let event = self.event(request);
            if matches!(event, Event::Done(_) | Event::Failed(_)) {
                return (event, before);
            }
        }
        unreachable!("events are finitely many")
    }
}
