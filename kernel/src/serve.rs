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
    }

    fn residents(&self) -> Vec<Resident> {
        self.0.residents()
    }
}
