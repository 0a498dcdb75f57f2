//! The library against the host: cells as processes, a host that they start by themselves.

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
};

use crate::support::{Place, Process, printed, wait_for};

#[test]
fn every_call_of_the_library_reaches_the_host() {
    let place = Place::new();
    let expected = "[54620, 32, 97] → 한 a
InvalidArgument
hi
\"<system>Be brief.\\n<user>Hello!\\n\"
\"<system>Be brief.\\n<user>Hello!\\n<assistant>\"
Hello!He
8 Length
<sy
한 a
xyzxy
Hello!
1
1
there is no pipeline for the task \"text-generatoin\"
hint: did you mean \"text-generation\"? Known tasks: text-generation, text-classification, \
    token-classification, question-answering, zero-shot-classification, fill-mask, feature-extraction, \
    summarization, translation, translation_XX_to_YY, text2text-generation, sentiment-analysis, ner, qa
there is no device `tpu`
hint: use \"auto\", \"cpu\", \"cuda\" or \"cuda:0\"
";
    assert_eq!(place.run_cell("tour"), expected);
}

#[test]
fn a_model_stays_for_the_next_process() {
    let place = Place::new();
    assert!(place.run_cell("load-slow").starts_with("resident=false"));
    let second = place.run_cell("load-slow");
    assert!(second.starts_with("resident=true"), "{second}");
    let took: u64 = second
        .trim()
        .rsplit('=')
        .next()
        .and_then(|ms| ms.parse().ok())
        .expect("a number");
    // The target is 20 ms.
    assert!(took < 200, "{took} ms for a resident model");
}

#[test]
fn cells_that_start_at_once_share_one_host() {
    let place = Place::new();
    let mut cells: Vec<_> = (0..4)
        .map(|_| {
            place
                .cell("load-slow")
                .stdout(Stdio::piped())
                .spawn()
                .expect("starts")
        })
        .collect();
    let mut loads = 0;
    for cell in &mut cells {
        let mut out = String::new();
        cell.stdout
            .take()
            .expect("is piped")
            .read_to_string(&mut out)
            .expect("reads");
        assert!(cell.wait().expect("is a child").success(), "{out}");
        loads += usize::from(out.starts_with("resident=false"));
    }
    assert_eq!(loads, 1);
}

#[test]
fn a_host_that_dies_ends_the_call_and_the_handle_loads_again() {
    let place = Place::new();
    assert_eq!(place.run_cell("reload"), "HostError\nagain\n");
}

#[test]
fn a_failure_comes_through_with_its_hint() {
    let place = Place::new();
    assert_eq!(
        place.run_cell("missing"),
        "NotFound: cannot load `missing`: no such repository\nhint: check the name\n"
    );
}

#[test]
fn a_killed_cell_stops_its_generation() {
    let place = Place::new();
    let mut host = place.start_host_with(&[("TOY_IDLE_MS", "300")]);
    let mut cell = Process(
        place
            .cell("endless")
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts"),
    );
    let mut first = [0; 8];
    cell.0
        .stdout
        .take()
        .expect("is piped")
        .read_exact(&mut first)
        .expect("streams");
    assert_eq!(&first, b"abc abc ", "text comes while the generation runs");
    cell.0.kill().expect("can be killed");
    assert!(host.ends(), "nothing runs any more");
}

#[test]
fn an_interrupt_of_the_session_ends_the_cell_with_an_error() {
    let place = Place::new();
    let mut command = place.cell("endless");
    let mut cell = Process(
        command
            .env(wire::SESSION_VAR, "k1")
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts"),
    );
    let mut out = cell.0.stdout.take().expect("is piped");
    let mut first = [0; 4];
    out.read_exact(&mut first).expect("streams");
    host::client::cancel_session(&place.socket(), "k1").expect("answers");
    let mut rest = String::new();
    out.read_to_string(&mut rest).expect("reads");
    assert!(
        rest.ends_with("\nKeyboardInterrupt: interrupted\n"),
        "{rest}"
    );
}

#[test]
fn an_abandoned_call_is_cancelled() {
    let place = Place::new();
    let output = place.cell("panicking-callback").output().expect("starts");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "unwound=true\nfree=true\n"
    );
}

/// A host of another version: greets with another number, and leaves when it is asked to.
#[test]
fn a_host_of_another_version_is_replaced() {
    use std::{io::Write, os::unix::net::UnixListener, thread};
    use wire::{
        frame,
        host::{ClientMessage, HostMessage, Request, Welcome},
    };

    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).expect("binds");
    let socket = place.socket();
    let old = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a client");
        let welcome = Welcome {
            protocol: wire::PROTOCOL_VERSION + 1,
            version: "old".to_owned(),
            pid: 1,
        };
        stream
            .write_all(&frame::encode(&HostMessage::Welcome(welcome)).expect("encodes"))
            .expect("writes");
        let mut decoder = frame::Decoder::default();
        let mut buffer = [0; 4096];
        loop {
            let length = stream.read(&mut buffer).expect("reads");
            assert!(
                length > 0,
                "the client left without asking this host to leave"
            );
            decoder.push(&buffer[..length]);
            while let Some(message) = decoder.next::<ClientMessage>().expect("decodes") {
                if matches!(
                    message,
                    ClientMessage::Request {
                        request: Request::Shutdown,
                        ..
                    }
                ) {
                    drop(listener);
                    return fs::remove_file(socket).expect("is there");
                }
            }
        }
    });
    assert!(place.run_cell("load-slow").starts_with("resident=false"));
    old.join().expect("was asked to leave");
}

#[test]
fn a_missing_binary_and_a_failing_host_are_told_with_a_next_step() {
    let place = Place::new();
    let tell = |mut command: Command| printed(&command.output().expect("starts"));
    let mut command = place.cell("tour");
    command.env(wire::BINARY_VAR, "/nonexistent/warmcell");
    let told = tell(command);
    assert!(
        told.starts_with(
            "HostError: cannot start the model host: `/nonexistent/warmcell host serve`"
        ),
        "{told}"
    );
    assert!(told.contains("hint: put `warmcell` on the PATH"), "{told}");
    let mut command = place.cell("tour");
    command.env(wire::BINARY_VAR, "false");
    let told = tell(command);
    assert!(
        told.starts_with("HostError: the model host ended at its start"),
        "{told}"
    );
    wait_for("the log is there", || {
        place.folder.path().join("host.log").exists()
    });
}
