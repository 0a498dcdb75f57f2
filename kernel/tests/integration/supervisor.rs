//! A supervisor for tests: in a session of its own, with the kernel's end of its sockets and evcxr's.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FileType, Mode};
use serde_json::{Value, json};
use wire::frame;

/// A supervisor that takes longer to answer hangs.
const ANSWER_LIMIT: Duration = Duration::from_mins(2);

/// The cells' library, compiled once.
pub fn cells() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let library = folder.join("libcells.so");
        let status = Command::new("rustc")
            .args(["--edition=2024", "--crate-type=cdylib", "-o"])
            .arg(&library)
            .arg(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/fixtures/unsafe_cells.rs"
            ))
            .status()
            .expect("rustc runs");
        assert!(status.success());
        library
    })
}

/// A supervisor in a session of its own.
pub struct Runner {
    pub folder: tempfile::TempDir,
    pub process: Child,
    stdout: File,
    _stderr: File,
}

impl Runner {
    pub fn start() -> Self {
        Self::start_by(command)
    }

    /// As a shell starts a job in the background.
    pub fn start_with_interrupts_ignored() -> Self {
        Self::start_by(|session| {
            let runner = command(session);
            let mut shell = Command::new("sh");
            shell
                .args(["-c", "trap '' INT QUIT; exec \"$@\"", "sh"])
                .arg(runner.get_program())
                .args(runner.get_args());
            for (name, value) in runner.get_envs() {
                shell.env(name, value.expect("is set"));
            }
            shell
        })
    }

    fn start_by(command: impl FnOnce(&Path) -> Command) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let pipe = |name: &str| {
            let path = folder.path().join(name);
            rustix::fs::mknodat(
                rustix::fs::CWD,
                &path,
                FileType::Fifo,
                Mode::RUSR | Mode::WUSR,
                0,
            )
            .expect("a pipe");
            // For both directions, so that opening waits for nobody.
            File::options()
                .read(true)
                .write(true)
                .open(path)
                .expect("a pipe")
        };
        let (stdout, stderr) = (pipe("stdout"), pipe("stderr"));
        let process = command(folder.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        Self {
            folder,
            process,
            stdout,
            _stderr: stderr,
        }
    }

    pub fn control(&self) -> Control {
        let socket = self.folder.path().join("control.sock");
        Control {
            stream: connect(&socket),
            decoder: frame::Decoder::default(),
        }
    }

    pub fn evcxr(&self) -> Evcxr {
        let mut relay = command(self.folder.path())
            .arg("--relay")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        Evcxr {
            stdin: relay.stdin.take(),
            stdout: BufReader::new(relay.stdout.take().expect("a pipe")),
            relay,
        }
    }

    /// What cells have printed: one line.
    pub fn line(&mut self) -> String {
        let mut line = Vec::new();
        let mut byte = [0];
        while byte != *b"\n" {
            self.stdout.read_exact(&mut byte).expect("a line");
            line.push(byte[0]);
        }
        String::from_utf8(line).expect("text").trim().to_owned()
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        assert!(self.process.wait().expect("it ends").success());
    }
}

fn command(session: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_warmcell"));
    command.arg("runner").env("WARMCELL_SESSION_DIR", session);
    command
}

fn connect(socket: &Path) -> UnixStream {
    let limit = Instant::now() + Duration::from_secs(20);
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => {
                stream
                    .set_read_timeout(Some(ANSWER_LIMIT))
                    .expect("a limit");
                return stream;
            }
            Err(error) => assert!(Instant::now() < limit, "{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

pub struct Control {
    stream: UnixStream,
    decoder: frame::Decoder,
}

impl Control {
    pub fn send(&mut self, order: &Value) {
        let bytes = frame::encode(order).expect("encodes");
        self.stream.write_all(&bytes).expect("is sent");
    }

    pub fn receive(&mut self) -> Value {
        let mut buffer = [0; 4096];
        loop {
            if let Some(message) = self.decoder.next().expect("decodes") {
                return message;
            }
            let length = self.stream.read(&mut buffer).expect("is read");
            assert!(length > 0, "the supervisor hung up");
            self.decoder.push(&buffer[..length]);
        }
    }

    pub fn run(&mut self, function: &str) -> Value {
        self.run_library(cells(), function)
    }

    pub fn run_library(&mut self, library: &Path, function: &str) -> Value {
        self.send(&json!({"Run": {"library": library, "function": function}}));
        self.receive()["Ended"].take()
    }
}

/// evcxr's side of a relay.
pub struct Evcxr {
    pub relay: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Evcxr {
    pub fn run(&mut self, function: &str) -> Vec<u8> {
        self.run_library(cells(), function)
    }

    pub fn run_library(&mut self, library: &Path, function: &str) -> Vec<u8> {
        let stdin = self.stdin.as_mut().expect("open");
        writeln!(stdin, "LOAD_AND_RUN {} {function}", library.display()).expect("is sent");
        let mut line = Vec::new();
        self.stdout.read_until(b'\n', &mut line).expect("is read");
        line
    }
}

impl Drop for Evcxr {
    fn drop(&mut self) {
        drop(self.stdin.take());
        self.relay.wait().expect("it ends");
    }
}

pub const COMPLETE: &[u8] = b"EVCXR_EXECUTION_COMPLETE\n";
