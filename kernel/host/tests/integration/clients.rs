//! Requests of several clients: one load for two, cancelling, and clients that disappear.

use std::thread;

use wire::{
    FailureKind,
    generate::{FinishReason, GenerationConfig, Prompt, StreamOptions},
    host::{ClientMessage, Event, Request, Response},
    hub::HubVariables,
    tokenize::{EncodeOptions, TokenizerCall},
};

use crate::support::{Client, Place, spec, wait_for};

fn generate(model: &str) -> Request {
    Request::Generate {
        model: spec(model),
        prompts: vec![Prompt::Text("abc ".to_owned())],
        config: GenerationConfig::default(),
        generation_config: None,
        stream: Some(StreamOptions::default()),
        assistant: None,
    }
}

/// Waits until the endless generation has begun, so that there is something to cancel.
fn begin_endless(client: &mut Client, id: u64) {
    client.request(id, generate("endless"));
    while !matches!(client.event(id), Event::Token(_)) {}
}

fn assert_cancelled(client: &mut Client, id: u64) {
    let (event, _) = client.last_event(id);
    let Event::Done(Response::Generated(generated)) = event else {
        panic!("{event:?}")
    };
    assert_eq!(generated[0].finish_reason, FinishReason::Cancelled);
    assert!(
        !generated[0].ids.is_empty(),
        "what was generated before is kept"
    );
}

#[test]
fn two_loads_at_once_are_one() {
    let place = Place::new();
    let _host = place.start_host();
    let load = || {
        let mut client = Client::greeted(&place.socket(), "");
        client.request(1, Request::LoadModel(spec("slow")));
        match client.last_event(1).0 {
            Event::Done(Response::Model(info)) => info.was_resident,
            other => panic!("{other:?}"),
        }
    };
    let mut resident = thread::scope(|scope| {
        [scope.spawn(load), scope.spawn(load)].map(|load| load.join().expect("loads"))
    });
    resident.sort_unstable();
    assert_eq!(resident, [false, true], "one loads, the other finds it");
    let status = host::client::status(&place.socket())
        .expect("answers")
        .expect("runs");
    assert_eq!(status.models.len(), 1);
    assert!(status.process_bytes > 100_000, "{status:?}");
}

#[test]
fn a_request_is_cancelled_by_its_id_and_the_other_goes_on() {
    let place = Place::new();
    let _host = place.start_host();
    let mut client = Client::greeted(&place.socket(), "");
    begin_endless(&mut client, 7);
    let mut other = Client::greeted(&place.socket(), "");
    begin_endless(&mut other, 7);
    client.send(&ClientMessage::Cancel { id: 7 });
    assert_cancelled(&mut client, 7);
    assert!(
        matches!(other.event(7), Event::Token(_)),
        "the other client has the same id and is left alone"
    );
}

#[test]
fn a_session_is_cancelled_from_another_connection() {
    let place = Place::new();
    let _host = place.start_host();
    let mut client = Client::greeted(&place.socket(), "kernel-1");
    begin_endless(&mut client, 1);
    let mut other = Client::greeted(&place.socket(), "kernel-2");
    begin_endless(&mut other, 1);
    host::client::cancel_session(&place.socket(), "kernel-1").expect("answers");
    assert_cancelled(&mut client, 1);
    assert!(
        matches!(other.event(1), Event::Token(_)),
        "another kernel is left alone"
    );
}

/// The toy leaves once nothing runs: it stays as long as a generation runs that nobody reads.
#[test]
fn a_client_that_disappears_cancels_its_own() {
    let place = Place::new();
    let mut host = place.start_host_with(&[("TOY_IDLE_MS", "300")]);
    let mut client = Client::greeted(&place.socket(), "");
    begin_endless(&mut client, 1);
    drop(client);
    assert!(
        host.ends(),
        "the endless generation has ended, and the host with it"
    );
}

#[test]
fn a_panic_in_the_service_fails_its_request_only() {
    let place = Place::new();
    let _host = place.start_host();
    let mut client = Client::greeted(&place.socket(), "");
    client.request(1, Request::LoadModel(spec("panic")));
    let (event, _) = client.last_event(1);
    let Event::Failed(failure) = event else {
        panic!("{event:?}")
    };
    assert_eq!(failure.kind, FailureKind::Internal);
    assert!(failure.message.contains("the toy was told to"), "{failure}");
    client.request(2, Request::LoadModel(spec("toy")));
    assert!(
        matches!(client.last_event(2).0, Event::Done(_)),
        "the host goes on"
    );
}

#[test]
fn an_id_that_is_in_use_is_refused() {
    let place = Place::new();
    let _host = place.start_host();
    let mut client = Client::greeted(&place.socket(), "");
    begin_endless(&mut client, 1);
    client.request(1, Request::LoadModel(spec("toy")));
    while !matches!(client.event(1), Event::Failed(_)) {}
}

#[test]
fn garbage_ends_the_connection_and_not_the_host() {
    let place = Place::new();
    let _host = place.start_host();
    for garbage in [
        &b"\xff\xff\xff\xff"[..],
        b"\x03\x00\x00\x00abc",
        b"GET / HTTP/1.1\r\n\r\n",
    ] {
        let mut stream = std::os::unix::net::UnixStream::connect(place.socket()).expect("listens");
        std::io::Write::write_all(&mut stream, garbage).expect("writes");
        let mut rest = Vec::new();
        // A reset says as much as an end of file.
        let _ = std::io::Read::read_to_end(&mut stream, &mut rest);
        assert!(rest.is_empty());
    }
    wait_for("the host answers", || {
        host::client::status(&place.socket()).is_ok_and(|status| status.is_some())
    });
}

#[test]
fn a_kernels_request_hears_its_events_and_is_cancelled_by_its_session() {
    let place = Place::new();
    let _host = place.start_host();
    let socket = place.socket();
    let (mut tokens, mut asked) = (0, false);
    let response = host::client::request(
        &socket,
        "this kernel",
        generate("endless"),
        HubVariables::default(),
        &mut |event| {
            tokens += usize::from(matches!(event, Event::Token(_)));
            if tokens == 3 && !asked {
                asked = true;
                host::client::cancel_session(&socket, "this kernel").expect("the host hears it");
            }
        },
    );
    let Ok(Response::Generated(generated)) = response else {
        panic!("{response:?}")
    };
    assert_eq!(generated[0].finish_reason, FinishReason::Cancelled);
    assert!(tokens >= 3);
}

/// Its connection once stayed open with half a frame in it, in which all that came later was lost.
#[test]
fn a_client_that_does_not_read_is_let_go() {
    let place = Place::new();
    let _host = place.start_host_with(&[("TOY_WRITE_MS", "200")]);
    let mut client = Client::greeted(&place.socket(), "");
    begin_endless(&mut client, 1);
    // The answer is far longer than a socket takes.
    client.request(
        2,
        Request::Tokenize {
            tokenizer: spec("toy").source.into(),
            call: TokenizerCall::Tokens {
                inputs: vec!["x".repeat(1 << 18).into()],
                options: EncodeOptions::default(),
            },
        },
    );
    wait_for("the host gives the client up", || {
        let status = host::client::status(&place.socket()).expect("answers");
        // The client of this question does not count: `%models` said one more than `models()`.
        status.expect("runs").clients == 0
    });
    // What is left in the socket comes, then the end; and nothing that is no message.
    while client.receive().is_ok() {}
    let other = Client::greeted(&place.socket(), "");
    drop(other);
    wait_for("its other request ended too", || {
        let status = host::client::status(&place.socket())
            .expect("answers")
            .expect("runs");
        status.models.iter().all(|model| model.users == 0)
    });
}
