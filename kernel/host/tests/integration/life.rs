//! A host's life: one at a time, over a dead one's socket, of one version, in a closed folder, and
//! not for ever.

use std::{
    fs::{self, Permissions},
    io::{Read, Write},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    process::Stdio,
    thread,
    time::Duration,
};

use wire::{
    PROTOCOL_VERSION, frame,
    host::{Event, HostMessage, Request, Response, UnloadTarget, Welcome},
    hub::HubVariables,
};

use crate::support::{Client, Place, printed, spec, wait_for};

#[test]
fn a_second_host_leaves_the_first_alone() {
    let place = Place::new();
    let _host = place.start_host();
    let before = host::client::status(&place.socket())
        .expect("answers")
        .expect("runs");
    assert!(place.spawn_host(&[]).ends(), "it leaves without an error");
    let after = host::client::status(&place.socket())
        .expect("answers")
        .expect("runs");
    assert_eq!(before.pid, after.pid);
}

#[test]
fn a_dead_hosts_socket_is_replaced() {
    let place = Place::new();
    let mut first = place.start_host();
    first.0.kill().expect("can be killed");
    first.0.wait().expect("is a child");
    assert!(place.socket().exists(), "a killed host cannot clean up");
    assert!(
        host::client::status(&place.socket())
            .expect("no error")
            .is_none()
    );
    let second = place.start_host();
    let status = host::client::status(&place.socket())
        .expect("answers")
        .expect("runs");
    assert_eq!(status.pid, second.0.id());
}

/// A host whose card is lost goes while others come to it.
#[test]
fn a_host_that_hangs_up_at_the_greeting_is_none() {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).expect("binds");
    let socket = place.socket();
    let leaving = thread::spawn(move || {
        for _ in 0..3 {
            drop(listener.accept());
        }
        drop(listener);
        fs::remove_file(socket)
    });
    let status = host::client::status(&place.socket());
    assert!(status.expect("no error").is_none());
    leaving.join().expect("ends").expect("it was there");
}

#[test]
fn a_host_that_ends_while_it_is_asked_is_told_from_one_that_cannot_be_reached() {
    let place = Place::new();
    let listener = UnixListener::bind(place.socket()).expect("binds");
    let leaving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("comes");
        let mut greeting = [0; 1024];
        let _ = stream.read(&mut greeting);
        let welcome = HostMessage::Welcome(Welcome {
            protocol: PROTOCOL_VERSION,
            version: String::new(),
            pid: 1,
        });
        let welcome = frame::encode(&welcome).expect("a message");
        stream.write_all(&welcome).expect("is heard");
        // The request comes, and no answer.
        let _ = stream.read(&mut greeting);
    });
    let (hub, session) = (HubVariables::default(), "");
    let asked = Request::Unload(UnloadTarget::All);
    let error = host::client::request(&place.socket(), session, asked, hub, &mut |_| {});
    let error = error.expect_err("no answer");
    assert!(matches!(error, host::HostError::Ended), "{error}");
    leaving.join().expect("ends");
}

#[test]
fn a_folder_open_to_others_is_refused_by_host_and_client() {
    let place = Place::new();
    fs::set_permissions(place.folder.path(), Permissions::from_mode(0o755)).expect("mode");
    let mut host = place.spawn_host(&[]);
    assert!(!host.ends());
    let cell = printed(&place.cell("tour").output().expect("starts"));
    assert!(
        cell.contains("HostError") && cell.contains("mode 755") && cell.contains("hint: chmod 700"),
        "{cell}"
    );
}

#[test]
fn socket_and_lock_are_the_owners_only() {
    let place = Place::new();
    let _host = place.start_host();
    for name in ["host.sock", "host.lock"] {
        let mode = fs::metadata(place.folder.path().join(name))
            .expect("is there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

#[test]
fn another_protocol_gets_a_greeting_and_can_only_end_the_host() {
    let place = Place::new();
    let mut host = place.start_host();
    let mut client = Client::connect(&place.socket());
    assert_eq!(
        client.hello(PROTOCOL_VERSION + 1, "").protocol,
        PROTOCOL_VERSION
    );
    client.request(1, Request::LoadModel(spec("toy")));
    assert!(client.receive().is_err(), "the connection is closed");
    let mut client = Client::connect(&place.socket());
    client.hello(PROTOCOL_VERSION + 1, "");
    client.request(1, Request::Shutdown);
    assert!(host.ends());
    assert!(!place.socket().exists());
}

#[test]
fn shutdown_ends_what_runs_and_removes_the_socket() {
    let place = Place::new();
    let mut host = place.start_host();
    let mut client = Client::greeted(&place.socket(), "");
    client.request(
        1,
        Request::Generate {
            model: spec("endless"),
            prompts: vec![wire::generate::Prompt::Text("a".to_owned())],
            config: wire::generate::GenerationConfig::default(),
            generation_config: None,
            stream: None,
            assistant: None,
        },
    );
    let mut other = Client::greeted(&place.socket(), "");
    other.request(1, Request::Shutdown);
    assert_eq!(other.event(1), Event::Done(Response::Stopping));
    assert!(host.ends());
    assert!(!place.socket().exists());
    assert!(
        !host::client::stop(&place.socket()).expect("no error"),
        "nothing is left to stop"
    );
}

#[test]
fn an_idle_host_leaves_and_a_client_keeps_it() {
    let place = Place::new();
    let mut host = place.start_host_with(&[("TOY_IDLE_MS", "300")]);
    let client = Client::greeted(&place.socket(), "");
    std::thread::sleep(Duration::from_millis(900));
    assert!(
        host.0.try_wait().expect("is a child").is_none(),
        "a connected client keeps it"
    );
    drop(client);
    assert!(host.ends());
}

#[test]
fn the_command_lines_start_finds_a_running_host() {
    let place = Place::new();
    let host = place.start_host();
    let status = host::client::start(
        std::path::Path::new("/nonexistent"),
        &place.socket(),
        Stdio::null(),
    )
    .expect("runs");
    assert_eq!(status.pid, host.0.id());
    assert!(host::client::stop(&place.socket()).expect("stops"));
    wait_for("the socket is gone", || !place.socket().exists());
    let error = host::client::start(
        std::path::Path::new("/nonexistent"),
        &place.socket(),
        Stdio::null(),
    );
    assert!(error.is_err_and(|error| error.to_string().contains("/nonexistent")));
}
