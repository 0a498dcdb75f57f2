//! The notebook of Rust while it comes up, which takes seconds: on a thread of its own, so that
//! commands answer meanwhile.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use jupyter::CellError;

use super::{Notebook, error};

/// The analysis of a cell may recurse deeply, also while it is warmed up.
const STACK_BYTES: usize = 16 << 20;
const LOOK_AGAIN: Duration = Duration::from_millis(20);

type Opened = Result<Box<dyn Notebook>, CellError>;

/// The notebook, or the promise of it.
pub struct Opening {
    state: State,
    /// A cell waits: what could be done ahead must not be.
    is_wanted: Arc<AtomicBool>,
}

enum State {
    Opening(Receiver<Opened>),
    Open(Box<dyn Notebook>),
    Failed(CellError),
}

impl Opening {
    /// Opens on a thread, and warms up as long as nobody waits.
    ///
    /// # Errors
    /// There is no thread.
    pub fn start(open: impl FnOnce() -> Opened + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = mpsc::channel();
        let is_wanted = Arc::new(AtomicBool::new(false));
        let wanted = Arc::clone(&is_wanted);
        thread::Builder::new()
            .name("opening".to_owned())
            .stack_size(STACK_BYTES)
            .spawn(move || {
                let mut opened = open();
                if let Ok(notebook) = &mut opened
                    && !wanted.load(Ordering::SeqCst)
                {
                    notebook.warm_up();
                }
                let _ = sender.send(opened);
            })?;
        Ok(Self {
            state: State::Opening(receiver),
            is_wanted,
        })
    }

    /// The notebook, if it is up.
    pub fn ready(&mut self) -> Option<&mut dyn Notebook> {
        if let State::Opening(receiver) = &self.state
            && let Ok(opened) = receiver.try_recv()
        {
            self.settle(opened);
        }
        match &mut self.state {
            State::Open(notebook) => Some(notebook.as_mut()),
            State::Opening(_) | State::Failed(_) => None,
        }
    }

    /// The notebook, once it is up.
    ///
    /// # Errors
    /// It cannot be opened, which every cell then says, or the wait was interrupted.
    pub fn wait(
        &mut self,
        is_interrupted: &dyn Fn() -> bool,
    ) -> Result<&mut dyn Notebook, CellError> {
        self.is_wanted.store(true, Ordering::SeqCst);
        while let State::Opening(receiver) = &self.state {
            match receiver.recv_timeout(LOOK_AGAIN) {
                Ok(opened) => self.settle(opened),
                Err(RecvTimeoutError::Timeout) if is_interrupted() => break,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    let reason = "bringing up the notebook of Rust failed by a fault of its own";
                    let hint = "restart the kernel; its log says more";
                    self.settle(Err(error::failed("InternalError", reason, hint)));
                }
            }
        }
        match &mut self.state {
            State::Open(notebook) => Ok(notebook.as_mut()),
            State::Failed(error) => Err(error.clone()),
            State::Opening(_) => Err(error::interrupted("the wait for the compiler")),
        }
    }

    fn settle(&mut self, opened: Opened) {
        self.state = opened.map_or_else(State::Failed, State::Open);
    }
}
