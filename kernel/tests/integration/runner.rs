//! The cell runner by its sockets: the kernel's orders, evcxr's through the relay, and both at once.

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

/// The cells' library, compiled once.
fn cells() -> &'static Path {
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
struct Runner {
    folder: tempfile::TempDir,
    process: Child,
    stdout: File,
    _stderr: File,
}

impl Runner {
    fn start() -> Self {
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

    fn control(&self) -> Control {
        let socket = self.folder.path().join("control.sock");
        Control {
            stream: connect(&socket),
            decoder: frame::Decoder::default(),
        }
    }

    fn evcxr(&self) -> Evcxr {
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
    fn line(&mut self) -> String {
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
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < limit, "{error}"),
        }
        thread::sleep(Duration::from_millis(5));
    }
}

struct Control {
    stream: UnixStream,
    decoder: frame::Decoder,
}

impl Control {
    fn send(&mut self, order: &Value) {
        let bytes = frame::encode(order).expect("encodes");
        self.stream.write_all(&bytes).expect("is sent");
    }

    fn receive(&mut self) -> Value {
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

    fn run(&mut self, function: &str) -> Value {
        self.run_library(cells(), function)
    }

    fn run_library(&mut self, library: &Path, function: &str) -> Value {
        self.send(&json!({"Run": {"library": library, "function": function}}));
        self.receive()["Ended"].take()
    }
}

/// evcxr's side of a relay.
struct Evcxr {
    relay: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Evcxr {
    fn run(&mut self, function: &str) -> Vec<u8> {
        self.run_library(cells(), function)
    }

    fn run_library(&mut self, library: &Path, function: &str) -> Vec<u8> {
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

const COMPLETE: &[u8] = b"EVCXR_EXECUTION_COMPLETE\n";

#[test]
fn the_kernel_and_evcxr_share_the_variables() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    assert_eq!(control.run("up")["end"]["status"], "ok");
    let mut evcxr = runner.evcxr();
    assert_eq!(evcxr.run("up"), COMPLETE);
    control.run("tell");
    assert_eq!(runner.line(), "2");
}

#[test]
fn a_cell_that_dies_is_told_and_undone() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    let ended = control.run("up_and_abort");
    assert_eq!(ended["restored"], true);
    assert_eq!(ended["lost_all"], false);
    assert_eq!(ended["end"]["failure"]["ename"], "SIGABRT");
    control.run("tell");
    assert_eq!(runner.line(), "1");
}

#[test]
fn the_first_cell_that_dies_loses_nothing_and_the_next_one_runs() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    let ended = control.run("up_and_abort");
    assert_eq!(ended["end"]["failure"]["ename"], "SIGABRT");
    assert_eq!(ended["restored"], true);
    control.run("tell");
    assert_eq!(runner.line(), "0");
}

#[test]
fn an_endless_cell_is_ended_on_request() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    let library = cells();
    control.send(&json!({"Run": {"library": library, "function": "up_for_ever"}}));
    let mut other = runner.control();
    // Before the order to run, the order to end has no cell to end.
    thread::sleep(Duration::from_millis(300));
    other.send(&json!("EndCell"));
    assert_eq!(other.receive(), "Done");
    assert_eq!(control.receive()["Ended"]["restored"], true);
    control.run("tell");
    assert_eq!(runner.line(), "1");
}

#[test]
fn evcxrs_end_of_its_child_forgets_the_variables_and_keeps_the_supervisor() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    let mut evcxr = runner.evcxr();
    evcxr.run("up");
    evcxr.relay.kill().expect("is killed");
    drop(evcxr);
    control.run("tell");
    assert_eq!(runner.line(), "0");
    assert_eq!(runner.evcxr().run("up"), COMPLETE);
}

#[test]
fn a_cell_of_evcxr_that_dies_is_rolled_back() {
    let mut runner = Runner::start();
    let mut evcxr = runner.evcxr();
    evcxr.run("up");
    assert_eq!(evcxr.run("up_and_abort"), b"\xFF\n");
    assert_eq!(evcxr.run("tell"), COMPLETE);
    assert_eq!(runner.line(), "1");
}

#[test]
fn an_empty_library_is_a_cell_that_has_been_run() {
    let runner = Runner::start();
    let empty = runner.folder.path().join("empty.so");
    File::create(&empty).expect("a file");
    assert_eq!(runner.evcxr().run_library(&empty, "any"), COMPLETE);
}

#[test]
fn a_library_that_cannot_be_loaded_is_an_error_and_no_more() {
    let mut runner = Runner::start();
    let mut control = runner.control();
    control.run("up");
    let ended = control.run_library(Path::new("/nowhere.so"), "up");
    assert_eq!(ended["end"]["status"], "notrun");
    assert_eq!(ended["end"]["failure"]["ename"], "LoadError");
    control.run("tell");
    assert_eq!(runner.line(), "1");
}
