//! The bar of a load, as a kernel gets it.

use std::{
    io::{Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    thread,
};

use wire::{
    KERNEL_SOCKET_VAR,
    cell::{CellMessage, KernelMessage},
    frame,
};

use crate::support::Place;

fn serve_kernel(mut stream: UnixStream) -> Vec<CellMessage> {
    let mut messages = Vec::new();
    let mut decoder = frame::Decoder::default();
    let mut buffer = [0; 4096];
    loop {
        while let Some(message) = decoder.next::<CellMessage>().expect("decodes") {
            stream
                .write_all(&frame::encode(&KernelMessage::Accepted).expect("encodes"))
                .expect("the cell reads");
            messages.push(message);
        }
        match stream.read(&mut buffer).expect("reads") {
            0 => return messages,
            length => decoder.push(&buffer[..length]),
        }
    }
}

/// The toy's slow load takes half a second and tells of it twenty times.
#[test]
fn a_slow_load_shows_one_bar_that_ends_full() {
    let place = Place::new();
    let socket = place.folder.path().join("kernel.sock");
    let listener = UnixListener::bind(&socket).expect("binds");
    let kernel = thread::spawn(move || serve_kernel(listener.accept().expect("a cell").0));
    let output = place
        .cell("load-slow")
        .env(KERNEL_SOCKET_VAR, &socket)
        .output()
        .expect("starts");
    assert!(output.status.success(), "{output:?}");
    let messages = kernel.join().expect("the kernel understood all");
    let Some((
        CellMessage::Display {
            display_id: Some(name),
            ..
        },
        updates,
    )) = messages.split_first()
    else {
        panic!("no bar: {messages:?}");
    };
    // At most 15 a second after the first 150 ms of 500, and the last one.
    assert!(
        (1..=12).contains(&updates.len()),
        "{} updates",
        updates.len()
    );
    for update in updates {
        assert!(
            matches!(update, CellMessage::UpdateDisplay { display_id, .. } if display_id == name),
            "{update:?}"
        );
    }
    let Some(CellMessage::UpdateDisplay { bundle, .. }) = updates.last() else {
        panic!("no last frame")
    };
    assert!(
        bundle
            .get("text/plain")
            .is_some_and(|text| text.starts_with("Loaded slow on cpu")),
        "{bundle:?}"
    );
}

#[test]
fn a_resident_model_shows_no_bar() {
    let place = Place::new();
    place.run_cell("load-slow");
    let socket = place.folder.path().join("kernel.sock");
    let listener = UnixListener::bind(&socket).expect("binds");
    let output = place
        .cell("load-slow")
        .env(KERNEL_SOCKET_VAR, &socket)
        .output()
        .expect("starts");
    assert!(output.status.success(), "{output:?}");
    listener.set_nonblocking(true).expect("is a socket");
    assert!(listener.accept().is_err(), "the cell had something to show");
}
