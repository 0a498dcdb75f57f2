//! `%%bash` and `!command`: the shell, with its output as it comes.

use std::{
    io::{self, Read},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command as Process, ExitStatus, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use jupyter::{CellError, Publisher, Stream};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal},
};

use super::{Call, Command, Commands, Form, error, nothing};

pub(super) const COMMAND: Command = Command {
    name: "bash",
    form: Form::Cell,
    arguments: "",
    summary: "runs the rest of the cell in the shell",
    details: "`!COMMAND` runs one line. What is printed shows as it comes; there is no input. The stop \
button ends the command and all that it started. An exit code other than 0 is an error, of the last \
command as in any script; `set -e` stops at the first. Commands start in the notebook's folder.",
    run,
    complete: nothing,
};

/// How long an interrupted command may take to end by itself.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long output is waited for behind the end, which a process in the background may hold open.
const AFTER: Duration = Duration::from_millis(200);
const LOOK_AGAIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 20_000_000,
};

fn run(commands: &mut Commands, call: &Call<'_>) -> Result<(), CellError> {
    if !call.arguments.is_empty() {
        return Err(error::usage(
            call.command,
            "the script starts on the next line",
        ));
    }
    execute(commands, "bash", call.body.unwrap_or_default(), call.out)
}

/// Runs one line.
pub fn shell(commands: &Commands, line: &str, out: &Publisher) -> Result<(), CellError> {
    if line.is_empty() {
        return Err(error::failed(
            "UsageError",
            "`!` needs a command",
            "such as `!ls`",
        ));
    }
    execute(commands, "sh", line, out)
}

fn execute(
    commands: &Commands,
    program: &str,
    script: &str,
    out: &Publisher,
) -> Result<(), CellError> {
    let not_run = |reason: io::Error| {
        let hint = format!("is `{program}` on the PATH of this kernel?");
        error::failed(
            "ShellError",
            format!("cannot run `{program}`: {reason}"),
            hint,
        )
    };
    let mut process = Process::new(program);
    process
        .args(["-c", script])
        .current_dir(&commands.place.working_dir)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that an interrupt reaches all of it and nothing else.
        .process_group(0);
    commands.environment.apply(&mut process);
    let mut child = process.spawn().map_err(not_run)?;
    let ends = [
        child
            .stdout
            .take()
            .map(|pipe| forward(pipe, out, Stream::Stdout)),
        child
            .stderr
            .take()
            .map(|pipe| forward(pipe, out, Stream::Stderr)),
    ];
    let status = wait(&mut child, &|| commands.interrupter.is_interrupted()).map_err(not_run)?;
    let limit = Instant::now() + AFTER;
    for end in ends.into_iter().flatten() {
        let _ = end.recv_timeout(limit.saturating_duration_since(Instant::now()));
    }
    if commands.interrupter.is_interrupted() {
        return Err(error::interrupted("the command"));
    }
    ended(status)
}

/// Shows what comes from a pipe; the receiver tells when it has closed.
fn forward(mut pipe: impl Read + Send + 'static, out: &Publisher, stream: Stream) -> Receiver<()> {
    let (closed, is_closed) = mpsc::channel();
    let out = out.clone();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        let mut text = Utf8::default();
        while let Ok(length @ 1..) = pipe.read(&mut buffer) {
            out.stream(stream, &text.push(&buffer[..length]));
        }
        out.stream(stream, &text.finish());
        let _ = closed.send(());
    });
    is_closed
}

/// Waits for the end of a process; an interrupt ends its group, first by asking.
fn wait(child: &mut Child, is_interrupted: &dyn Fn() -> bool) -> io::Result<ExitStatus> {
    let group = Pid::from_child(child);
    let handle = rustix::process::pidfd_open(group, PidfdFlags::empty())?;
    let mut asked: Option<Instant> = None;
    loop {
        let mut fds = [PollFd::new(&handle, PollFlags::IN)];
        match poll(&mut fds, Some(&LOOK_AGAIN)) {
            Ok(1..) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(failed) => return Err(failed.into()),
        }
        if is_interrupted() {
            let signal = match asked {
                None => Signal::INT,
                Some(asked) if asked.elapsed() > PATIENCE => Signal::KILL,
                Some(_) => continue,
            };
            asked.get_or_insert_with(Instant::now);
            let _ = rustix::process::kill_process_group(group, signal);
        }
    }
    if asked.is_some() {
        // What the command started and left behind, before the group's number is free again.
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
    child.wait()
}

fn ended(status: ExitStatus) -> Result<(), CellError> {
    let how = match (status.code(), status.signal()) {
        (Some(0), _) => return Ok(()),
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    };
    let hint = match status.code() {
        Some(127) => "127 means that a command was not found",
        Some(126) => "126 means that a file may not be executed",
        _ => "what it printed is above",
    };
    Err(error::failed(
        "ShellError",
        format!("the command ended with {how}"),
        hint,
    ))
}

/// Text from bytes that are cut anywhere. What is no UTF-8 becomes U+FFFD.
#[derive(Default)]
struct Utf8 {
    held: Vec<u8>,
}

impl Utf8 {
    fn push(&mut self, bytes: &[u8]) -> String {
        self.held.extend_from_slice(bytes);
        let cut = match self.held.utf8_chunks().last() {
            // The beginning of a character, whose rest is still to come.
            Some(last) if last.invalid().len() < 4 && is_begun(last.invalid()) => {
                self.held.len() - last.invalid().len()
            }
            _ => self.held.len(),
        };
        let rest = self.held.split_off(cut);
        let whole = std::mem::replace(&mut self.held, rest);
        String::from_utf8_lossy(&whole).into_owned()
    }

    fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.held)).into_owned()
    }
}

fn is_begun(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_err_and(|error| error.error_len().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_are_cut_are_put_together() {
        let whole = "한국어 🦀".as_bytes();
        for size in 1..6 {
            let mut text = Utf8::default();
            let mut shown: String = whole.chunks(size).map(|chunk| text.push(chunk)).collect();
            shown.push_str(&text.finish());
            assert_eq!(shown.as_bytes(), whole, "{size} bytes at a time");
        }
    }

    #[test]
    fn what_is_no_text_is_replaced_at_once() {
        let mut text = Utf8::default();
        assert_eq!(text.push(b"a\xFFb"), "a\u{fffd}b");
        assert_eq!(text.push(b"\xE2\x82"), "");
        assert_eq!(text.finish(), "\u{fffd}");
    }

    #[test]
    fn an_interrupt_ends_a_command_that_does_not_listen() {
        let mut child = Process::new("sh")
            .args(["-c", "trap '' INT; sleep 60"])
            .process_group(0)
            .spawn()
            .expect("starts");
        let started = Instant::now();
        let status = wait(&mut child, &|| {
            started.elapsed() > Duration::from_millis(50)
        });
        assert_eq!(status.expect("ends").signal(), Some(9));
        assert!(started.elapsed() < Duration::from_secs(10));
    }
}
