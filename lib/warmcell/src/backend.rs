//! Where requests go: to the model host, or with the feature `local` to the engine in this process.
//! Both give a [`Call`], from which the events come and which cancels when it is dropped early.

use std::{
    process,
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    time::Instant,
};

use wire::{
    Failure, FailureKind,
    generate::StreamedToken,
    host::{Event, Request, Response},
    hub::HubVariables,
};

#[cfg(not(feature = "local"))]
use crate::session as provider;
use crate::{Error, Result, live::Live, progress::Watch};

/// A request under way. A process that was forked meanwhile has nobody who brings its events, and
/// must not touch what the lost threads were at.
pub(crate) struct Call {
    /// The process that made it.
    process: u32,
    events: Receiver<Event>,
    /// Ends the request, whose last event still comes; taken when it has ended by itself.
    cancel: Option<Box<dyn Fn() + Send>>,
    /// Nobody waits for its events any more.
    forget: Option<Box<dyn FnOnce() + Send>>,
    /// What to say when the events stop without a last one.
    lost: fn() -> Failure,
}

/// What comes next of a call.
#[expect(
    clippy::large_enum_variant,
    reason = "one is on its way at a time, never a list of them"
)]
pub(crate) enum Next {
    Event(Event),
    /// Nothing came until the deadline.
    Nothing,
}

impl Call {
    pub fn new(
        events: Receiver<Event>,
        cancel: Box<dyn Fn() + Send>,
        forget: Box<dyn FnOnce() + Send>,
        lost: fn() -> Failure,
    ) -> Self {
        Self {
            process: process::id(),
            events,
            cancel: Some(cancel),
            forget: Some(forget),
            lost,
        }
    }

    /// Asks for its end; its last event, with what there is, still comes.
    pub fn stop(&self) {
        if let Some(cancel) = &self.cancel {
            cancel();
        }
    }

    /// Waits for the next event, or until a deadline.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Next> {
        if self.process != process::id() {
            return Err((self.lost)().into());
        }
        let event = match deadline {
            None => self
                .events
                .recv()
                .map_err(|_| RecvTimeoutError::Disconnected),
            Some(deadline) => self
                .events
                .recv_timeout(deadline.saturating_duration_since(Instant::now())),
        };
        match event {
            Ok(event) => {
                if matches!(event, Event::Done(_) | Event::Failed(_)) {
                    self.cancel = None;
                }
                Ok(Next::Event(event))
            }
            Err(RecvTimeoutError::Timeout) => Ok(Next::Nothing),
            Err(RecvTimeoutError::Disconnected) => {
                self.cancel = None;
                Err((self.lost)().into())
            }
        }
    }
}

/// A call that is dropped before its end (an unwinding cell, an abandoned stream) stops its work.
impl Drop for Call {
    fn drop(&mut self) {
        let (cancel, forget) = (self.cancel.take(), self.forget.take());
        if self.process != process::id() {
            // A receiver whose sender stopped half-way would wait for it for ever.
            std::mem::forget(std::mem::replace(&mut self.events, mpsc::channel().1));
            std::mem::forget((cancel, forget));
        } else if let Some(cancel) = cancel {
            if let Some(forget) = forget {
                forget();
            }
            cancel();
        }
    }
}

/// The hub's variables as this process has them now, with paths that hold in any folder.
pub(crate) fn hub_variables() -> HubVariables {
    let variables = HubVariables::collect(|name| std::env::var(name).ok());
    match std::env::current_dir() {
        Ok(folder) => variables.from_folder(&folder),
        // The folder was deleted: nothing relative is there.
        Err(_) => variables,
    }
}

/// Starts a request.
pub(crate) fn start(request: &Request) -> Result<Call> {
    Ok(provider::start(request)?)
}

/// Runs a request to its end, with its progress and notices shown.
pub(crate) fn run(request: &Request) -> Result<Response> {
    run_with(request, |_| ())
}

/// As [`run`]; `on_token` gets each token and the text that became printable with it.
pub(crate) fn run_with(
    request: &Request,
    on_token: impl FnMut(&StreamedToken),
) -> Result<Response> {
    run_live(request, on_token, &mut None)
}

/// As [`run_with`], with a text on the page whose button ends the request.
pub(crate) fn run_live(
    request: &Request,
    mut on_token: impl FnMut(&StreamedToken),
    live: &mut Option<Live>,
) -> Result<Response> {
    let mut watch = Watch::new(request);
    let mut call = start(request)?;
    loop {
        if let Some(live) = live
            && live.due() <= Instant::now()
            && live.tick()
        {
            call.stop();
        }
        let deadlines = [watch.deadline(), live.as_ref().map(Live::due)];
        let next = call.next(deadlines.into_iter().flatten().min());
        match next.inspect_err(|_| watch.stop())? {
            Next::Nothing => {
                if watch.deadline().is_some_and(|due| due <= Instant::now()) {
                    watch.tick();
                }
            }
            Next::Event(Event::Progress(news)) => watch.progress(news),
            Next::Event(Event::Notice(notice)) => watch.notice(&notice),
            Next::Event(Event::Token(token)) => {
                watch.give_way();
                if let Some(live) = live {
                    live.push(&token.text);
                }
                on_token(&token);
            }
            Next::Event(Event::Done(response)) => {
                watch.finish(&response);
                return Ok(response);
            }
            Next::Event(Event::Failed(failure)) => {
                watch.stop();
                return Err(failure.into());
            }
        }
    }
}

/// The error for an answer that does not belong to the request.
pub(crate) fn unexpected(response: &Response) -> Error {
    let name = format!("{response:?}");
    let name = name.split(['(', ' ']).next().unwrap_or_default();
    Error::new(
        FailureKind::Internal,
        format!("the model host answered with an unexpected `{name}`"),
    )
    .with_hint("please report this; `warmcell host stop` starts afresh")
}

/// The engine in this process.
#[cfg(feature = "local")]
mod provider {
    use std::{
        sync::{OnceLock, mpsc},
        thread,
    };

    use engine::{Cancel, Service};
    use wire::{Failure, FailureKind, host::Request};

    use super::{Call, hub_variables};

    static SERVICE: OnceLock<Service> = OnceLock::new();

    pub fn start(request: &Request) -> Result<Call, Failure> {
        let (request, hub) = (request.clone(), hub_variables());
        let service = SERVICE.get_or_init(Service::new);
        let (sender, events) = mpsc::channel();
        let cancel = Cancel::new();
        let flag = cancel.clone();
        thread::Builder::new()
            .name("warmcell-request".to_owned())
            .spawn(move || {
                // A receiver that is gone has cancelled; its last events are for nobody.
                service.handle(request, &hub, &flag, &mut |event| drop(sender.send(event)));
            })
            .map_err(|error| {
                Failure::new(
                    FailureKind::Internal,
                    format!("cannot start a thread: {error}"),
                )
            })?;
        let cancel = Box::new(move || cancel.cancel());
        Ok(Call::new(events, cancel, Box::new(|| ()), lost))
    }

    fn lost() -> Failure {
        Failure::new(
            FailureKind::Internal,
            "the engine stopped while a request ran",
        )
        .hint("the message above, on standard error, says where")
    }
}
