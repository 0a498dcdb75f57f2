//! The engine as the model host serves it.

use engine::{Cancel, Service};
use host::Serve;
use wire::{
    host::{Event, Request},
    hub::HubVariables,
    model::Resident,
};

/// The engine's service behind the host's socket.
pub struct Engine(Service);

impl Engine {
    /// With nothing loaded.
    pub fn new() -> Self {
        Self(Service::new())
    }
}

impl Serve for Engine {
    type Cancel = Cancel;

    fn cancel(flag: &Cancel) {
        flag.cancel();
    }

    fn handle(
        &self,
        request: Request,
        hub: &HubVariables,
        cancel: &Cancel,
        sink: &mut dyn FnMut(Event),
    ) {
        self.0.handle(request, hub, cancel, sink);
        // Each further call would fail in this process, and the card's libraries may not even let it end. The next
        // request starts another host, with the same variables in every notebook.
        if engine::cuda::is_lost() {
            tracing::error!("a card is lost to this process, which ends");
            let own = rustix::process::getpid();
            let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
        }
    }

    fn residents(&self) -> Vec<Resident> {
        self.0.residents()
    }
}
