//! What the example `displays` shows: to a fake kernel, and to a terminal.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

use wire::{
    KERNEL_SOCKET_VAR,
    cell::{CellMessage, KernelMessage},
    frame,
};

fn example() -> PathBuf {
    let test = std::env::current_exe().expect("this test has a path");
    let release = test
        .parent()
        .and_then(Path::parent)
        .expect("tests lie in target/<profile>/deps");
    let path = release.join("examples/displays");
    assert!(
        path.exists(),
        "{} is missing: run all of `cargo test -p warmcell`",
        path.display()
    );
    path
}

/// Answers every message as a kernel does, until the cell is gone.
fn serve_kernel(mut stream: UnixStream) -> Vec<CellMessage> {
    let mut messages = Vec::new();
    let mut decoder = frame::Decoder::default();
    let mut buffer = [0; 4096];
    loop {
        while let Some(message) = decoder.next::<CellMessage>().expect("decodes") {
            let answer = match &message {
                CellMessage::Input {
                    password: false, ..
                } => KernelMessage::Input("Ada".to_owned()),
                CellMessage::Input { password: true, .. } => {
                    KernelMessage::Refused("no stdin".to_owned())
                }
                _ => KernelMessage::Accepted,
            };
            stream
                .write_all(&frame::encode(&answer).expect("encodes"))
                .expect("the cell reads");
            messages.push(message);
        }
        match stream.read(&mut buffer).expect("reads") {
            0 => return messages,
            length => decoder.push(&buffer[..length]),
        }
    }
}

fn run_with_kernel() -> (Vec<CellMessage>, Output) {
    let folder = tempfile::tempdir().expect("a folder");
    let socket = folder.path().join("kernel.sock");
    let listener = UnixListener::bind(&socket).expect("binds");
    let kernel = thread::spawn(move || serve_kernel(listener.accept().expect("a cell").0));
    let output = Command::new(example())
        .env(KERNEL_SOCKET_VAR, &socket)
        .stdin(Stdio::null())
        .output()
        .expect("starts");
    (kernel.join().expect("the kernel understood all"), output)
}

/// A message in one line: its kind, and the richest rendering.
fn line(message: &CellMessage) -> String {
    let richest = |bundle: &wire::mime::Bundle| {
        let (mime, content) = bundle.data.iter().next_back().expect("is not empty");
        format!("{mime} {content}")
    };
    match message {
        CellMessage::Display {
            bundle,
            display_id: None,
        } => format!("display {}", richest(bundle)),
        CellMessage::Display {
            bundle,
            display_id: Some(_),
        } => format!("display-id {}", richest(bundle)),
        CellMessage::UpdateDisplay { bundle, .. } => format!("update {}", richest(bundle)),
        CellMessage::Result { bundle } => format!("result {}", richest(bundle)),
        other => format!("{other:?}"),
    }
}

#[test]
fn a_kernel_gets_each_value_in_its_richest_form() {
    let (messages, output) = run_with_kernel();
    assert!(output.status.success(), "{output:?}");
    let lines: Vec<String> = messages.iter().map(line).collect();
    let expected = [
        "display text/html \"<i>html</i>\"",
        "display text/plain \"text\"",
        "display text/plain \"[1, 2]\"",
        "display text/plain \"Plain { answer: 42 }\"",
        "display text/html \"<b>rich</b>\"",
        "display-id text/markdown \"one\"",
        "update text/markdown \"two\"",
        "ClearOutput { wait: true }",
        "Input { prompt: \"Name? \", password: false }",
        "Input { prompt: \"Secret? \", password: true }",
        "result text/html \"<b>rich</b>\"",
        "result text/plain \"Plain { answer: 1 }\"",
        "result text/plain \"\\\"a\\\\\\\"b\\\"\"",
        "result text/plain \"[1, 2]\"",
        "result text/plain \"3\"",
        "result text/plain \"Some(4)\"",
        "result text/html \"<b>rich</b>\"",
        "result text/html \"<b>rich</b>\"",
        "result text/html \"<b>rich</b>\"",
        "result text/html \"<b>rich</b>\"",
    ];
    assert_eq!(lines, expected);
    let printed = String::from_utf8_lossy(&output.stdout);
    let evcxr = "EVCXR_BEGIN_CONTENT text/html\n<b>evcxr</b>\nEVCXR_END_CONTENT\n";
    assert_eq!(
        printed,
        format!("before Ada\nno input for \"Secret? \": no stdin\n{evcxr}")
    );
}

#[test]
fn an_update_names_the_display_it_replaces() {
    let (messages, _) = run_with_kernel();
    let first = messages.iter().find_map(|message| match message {
        CellMessage::Display {
            display_id: Some(id),
            ..
        } => Some(id.clone()),
        _ => None,
    });
    let update = messages.iter().find_map(|message| match message {
        CellMessage::UpdateDisplay { display_id, .. } => Some(display_id.clone()),
        _ => None,
    });
    assert!(first.is_some() && first == update, "{first:?} {update:?}");
}

#[test]
fn without_a_kernel_the_text_is_printed() {
    let mut command = Command::new(example());
    command
        .env_remove(KERNEL_SOCKET_VAR)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command.spawn().expect("starts");
    child
        .stdin
        .take()
        .expect("is piped")
        .write_all(b"Bob\r\n")
        .expect("reads");
    let output = child.wait_with_output().expect("ends");
    let printed = String::from_utf8_lossy(&output.stdout);
    assert!(
        printed.starts_with(
            "before html\ntext\n[1, 2]\nPlain { answer: 42 }\nrich\none\ntwo\nName? Bob\n"
        ),
        "{printed}"
    );
    assert!(
        printed.contains("hint: read it from an environment variable instead"),
        "{printed}"
    );
    assert!(printed.contains("\nSome(4)\n"), "{printed}");
}
