//! The socket on which a cell's process sends rich output, asks for input, and tells how it failed.
//! Each message is answered once it is under way, after the plain output before it: that keeps the
//! order that the cell wrote in, and holds back a cell that floods.

use std::{
    fs, io,
    io::{Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    thread,
};

use wire::{
    cell::{CellFailure, CellMessage, KernelMessage},
    frame,
    mime::Bundle,
};

use super::{output::Pump, sink::Sink};
use crate::widgets::Widgets;

/// What the messages of a cell leave behind for the end of its evaluation.
#[derive(Default)]
pub struct Inbox {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failure: Option<CellFailure>,
    capture: Capture,
}

impl Inbox {
    /// Forgets what the last cell left.
    pub fn start_cell(&self) {
        *self.lock() = State::default();
    }

    /// From now on the value of the last expression is kept instead of shown.
    pub fn capture_value(&self) {
        self.lock().capture = Capture::Keep;
    }

    /// The value that was kept.
    pub fn captured_value(&self) -> Option<Bundle> {
        match std::mem::take(&mut self.lock().capture) {
            Capture::Kept(bundle) => Some(bundle),
            Capture::Show | Capture::Keep => None,
        }
    }

    /// How the cell failed, if it did.
    pub fn take_failure(&self) -> Option<CellFailure> {
        self.lock().failure.take()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps the value if it was asked to, else gives it back to be shown.
    pub fn keep(&self, bundle: Bundle) -> Option<Bundle> {
        let mut state = self.lock();
        if matches!(state.capture, Capture::Show) {
            return Some(bundle);
        }
        state.capture = Capture::Kept(bundle);
        None
    }
}

/// What is done with the value of the last expression.
#[derive(Default)]
enum Capture {
    #[default]
    Show,
    Keep,
    Kept(Bundle),
}

/// Takes a cell's messages to where they belong.
#[derive(Clone)]
pub struct Displays {
    pump: Arc<Pump>,
    sink: Arc<dyn Sink>,
    inbox: Arc<Inbox>,
    widgets: Arc<Widgets>,
}

impl Displays {
    /// Listens on `socket`, which only its user can reach.
    pub fn start(
        socket: &Path,
        pump: Arc<Pump>,
        sink: Arc<dyn Sink>,
        inbox: Arc<Inbox>,
        widgets: Arc<Widgets>,
    ) -> io::Result<()> {
        let listener = UnixListener::bind(socket)?;
        fs::set_permissions(socket, fs::Permissions::from_mode(0o600))?;
        let displays = Self {
            pump,
            sink,
            inbox,
            widgets,
        };
        thread::Builder::new()
            .name("displays".to_owned())
            .spawn(move || {
                for stream in listener.incoming().flatten() {
                    let displays = displays.clone();
                    let spawned =
                        thread::Builder::new()
                            .name("display".to_owned())
                            .spawn(move || {
                                if let Err(error) = displays.serve(stream) {
                                    tracing::warn!(%error, "a cell's connection broke");
                                }
                            });
                    if let Err(error) = spawned {
                        tracing::error!(%error, "no thread for a cell's connection");
                    }
                }
            })?;
        Ok(())
    }

    fn serve(&self, mut stream: UnixStream) -> io::Result<()> {
        let mut decoder = frame::Decoder::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            while let Some(message) = decoder.next::<CellMessage>().map_err(io::Error::other)? {
                let answer = self.accept(message);
                stream.write_all(&frame::encode(&answer).map_err(io::Error::other)?)?;
            }
            match stream.read(&mut buffer)? {
                0 => return Ok(()),
                length => decoder.push(&buffer[..length]),
            }
        }
    }

    fn accept(&self, message: CellMessage) -> KernelMessage {
        self.pump.drain();
        match message {
            CellMessage::Widget(call) => return self.widgets.carry_out(call),
            CellMessage::HasWidgets if self.widgets.has_front_end() => {}
            CellMessage::HasWidgets => {
                return KernelMessage::Refused("no front end has asked for widgets".to_owned());
            }
            CellMessage::Display { bundle, display_id } => {
                self.sink.display(bundle, display_id.as_deref());
            }
            CellMessage::UpdateDisplay { bundle, display_id } => {
                self.sink.update_display(bundle, &display_id);
            }
            CellMessage::Result { bundle } => {
                if let Some(bundle) = self.inbox.keep(bundle) {
                    self.sink.result(bundle);
                }
            }
            CellMessage::ClearOutput { wait } => self.sink.clear_output(wait),
            CellMessage::Input { prompt, password } => {
                return match self.sink.input(&prompt, password) {
                    Ok(line) => KernelMessage::Input(line),
                    Err(reason) => KernelMessage::Refused(reason),
                };
            }
            CellMessage::Failed(failure) => self.inbox.lock().failure = Some(failure),
        }
        KernelMessage::Accepted
    }
}
