//! A request to the engine's service, as examples make them.

use engine::{Cancel, Service};
use wire::{
    Failure,
    host::{Event, Request, Response},
    hub::HubVariables,
};

/// What comes of a request.
pub fn ask(service: &Service, request: Request) -> Result<Response, Failure> {
    let mut answer = None;
    let hub = HubVariables::collect(|name| std::env::var(name).ok());
    service.handle(request, &hub, &Cancel::new(), &mut |event| match event {
        Event::Done(response) => answer = Some(Ok(response)),
        Event::Failed(failure) => answer = Some(Err(failure)),
        _ => {}
    });
    answer.expect("a request ends in an answer or a failure")
}
