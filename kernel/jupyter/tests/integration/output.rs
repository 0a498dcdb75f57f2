//! Streams under load, output outside a cell, and subscribers that come late or do not read.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use jupyter_protocol::messaging::ShutdownRequest;
use jupyter_zmq_client::create_client_iopub_connection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::front_end::{FrontEnd, describe, read};

/// All the text that the request prints until it is done, and in how many messages.
async fn printed(front_end: &mut FrontEnd, id: &str) -> (String, usize) {
    let (mut text, mut messages) = (String::new(), 0);
    loop {
        let message = read(&mut front_end.iopub).await;
        assert_eq!(message.parent, id);
        if let Some(more) = message.content["text"].as_str() {
            text.push_str(more);
            messages += 1;
        } else if describe(&message) == "status idle" {
            return (text, messages);
        }
    }
}

fn lines(n: usize) -> String {
    (0..n).fold(String::new(), |text, i| text + &format!("{i}\n"))
}

#[tokio::test]
async fn many_lines_are_few_messages() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.execute("flood 5000").await;
    let (text, messages) = printed(&mut front_end, &id).await;
    assert_eq!(text, lines(5000));
    assert!(messages < 250, "{messages} messages");
    front_end.reply(&id).await;
    front_end.finish().await;
}

#[tokio::test]
async fn a_flood_arrives_in_order_and_whole() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.execute("flood 100000\neprint last").await;
    let (text, _) = printed(&mut front_end, &id).await;
    assert_eq!(text, lines(100_000) + "last\n");
    front_end.reply(&id).await;
    front_end.finish().await;
}

#[tokio::test]
async fn text_without_a_newline_is_shown_while_the_cell_runs() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.execute("write a\nwrite b\nsleep 5000").await;
    let started = Instant::now();
    let mut text = String::new();
    while text != "ab" {
        let message = read(&mut front_end.iopub).await;
        text.push_str(message.content["text"].as_str().unwrap_or(""));
    }
    assert!(
        started.elapsed() < Duration::from_secs(2),
        "{:?}",
        started.elapsed()
    );
    front_end.until_idle(&id).await;
    front_end.reply(&id).await;
    front_end.finish().await;
}

#[tokio::test]
async fn what_a_thread_prints_after_the_cell_belongs_to_it() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.execute("later done").await;
    let published = front_end.until_idle(&id).await;
    assert_eq!(published.len(), 3, "{published:?}");
    let late = read(&mut front_end.iopub).await;
    assert_eq!(describe(&late), r#"stdout "done\n""#);
    assert_eq!(late.parent, id);
    front_end.reply(&id).await;
    front_end.finish().await;
}

#[tokio::test]
async fn each_subscriber_is_welcomed_and_nobody_else_hears_of_it() {
    let mut front_end = FrontEnd::start().await;
    let mut second = create_client_iopub_connection(&front_end.info, "", "second")
        .await
        .unwrap();
    let welcome = read(&mut second).await;
    assert_eq!(describe(&welcome), r#"iopub_welcome {"subscription":""}"#);
    let id = front_end.execute("print both").await;
    let first_saw = front_end.until_idle(&id).await;
    let mut second_saw = Vec::new();
    while second_saw.last().is_none_or(|last| last != "status idle") {
        second_saw.push(describe(&read(&mut second).await));
    }
    assert_eq!(first_saw, second_saw);
    front_end.reply(&id).await;
    front_end.finish().await;
}

/// Subscribes to everything, as libzmq does on the wire, and never reads again.
async fn stalled_subscriber(port: u16) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let mut greeting = [0_u8; 64];
    (greeting[0], greeting[9], greeting[10]) = (0xff, 0x7f, 3);
    greeting[12..16].copy_from_slice(b"NULL");
    stream.write_all(&greeting).await.unwrap();
    stream.read_exact(&mut greeting).await.unwrap();
    let ready = b"\x04\x19\x05READY\x0bSocket-Type\x00\x00\x00\x03SUB";
    stream.write_all(ready).await.unwrap();
    stream.write_all(b"\x00\x01\x01").await.unwrap();
    sleep(Duration::from_millis(200)).await;
    stream
}

#[tokio::test]
async fn a_subscriber_that_does_not_read_holds_up_nobody() {
    let mut front_end = FrontEnd::start().await;
    let _stalled = stalled_subscriber(front_end.info.iopub_port).await;
    // More than may wait for one subscriber.
    let id = front_end.execute("bulk 100").await;
    let (text, _) = printed(&mut front_end, &id).await;
    assert_eq!(text.len(), 100 * 1024 * 1024);
    front_end.reply(&id).await;
    let started = Instant::now();
    front_end.run("print next").await;
    assert!(
        started.elapsed() < Duration::from_secs(5),
        "{:?}",
        started.elapsed()
    );
    front_end.finish().await;
}

#[tokio::test]
async fn the_last_output_arrives_before_the_kernel_is_gone() {
    let mut front_end = FrontEnd::start().await;
    let id = front_end.execute("bulk 20").await;
    front_end.reply(&id).await;
    let shutdown = front_end
        .send_control(ShutdownRequest { restart: false })
        .await;
    front_end.control_reply(&shutdown).await;
    // The cell's idle follows its reply, and so may come after the shutdown's.
    let (mut size, mut idle) = (0, HashSet::new());
    while idle.len() < 2 {
        let message = read(&mut front_end.iopub).await;
        size += message.content["text"].as_str().unwrap_or("").len();
        if describe(&message) == "status idle" {
            idle.insert(message.parent);
        }
    }
    assert_eq!(size, 20 * 1024 * 1024);
    assert_eq!(idle, HashSet::from([id, shutdown]));
    front_end.join();
}
