//! What goes on: clients, and requests with the way to cancel each. One lock, held for a look only.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// A client of the host, by number.
pub(crate) type ClientId = u64;

type Cancel = Box<dyn Fn() + Send>;

/// The table of clients and requests.
pub(crate) struct Registry {
    state: Mutex<State>,
}

struct State {
    clients: u32,
    running: HashMap<(ClientId, u64), Running>,
    /// When the last client left or the last request ended.
    last_activity: Instant,
    is_stopping: bool,
}

struct Running {
    session: String,
    cancel: Cancel,
}

impl Registry {
    pub fn new() -> Self {
        let state = State {
            clients: 0,
            running: HashMap::new(),
            last_activity: Instant::now(),
            is_stopping: false,
        };
        Self {
            state: Mutex::new(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn client_came(&self) {
        self.state().clients += 1;
    }

    /// A client is gone: nobody waits for its requests.
    pub fn client_left(&self, client: ClientId) {
        self.cancel_where(|(owner, _), _| *owner == client);
        let mut state = self.state();
        state.clients = state.clients.saturating_sub(1);
        state.last_activity = Instant::now();
    }

    /// Enters a request. `false` when its id is taken or the host is about to end.
    pub fn begin(&self, client: ClientId, id: u64, session: &str, cancel: Cancel) -> bool {
        let mut state = self.state();
        if state.is_stopping || state.running.contains_key(&(client, id)) {
            return false;
        }
        state.running.insert(
            (client, id),
            Running {
                session: session.to_owned(),
                cancel,
            },
        );
        true
    }

    pub fn end(&self, client: ClientId, id: u64) {
        let mut state = self.state();
        state.running.remove(&(client, id));
        state.last_activity = Instant::now();
    }

    pub fn cancel(&self, client: ClientId, id: u64) {
        self.cancel_where(|key, _| *key == (client, id));
    }

    pub fn cancel_session(&self, session: &str) {
        self.cancel_where(|_, running| running.session == session);
    }

    fn cancel_where(&self, matches: impl Fn(&(ClientId, u64), &Running) -> bool) {
        for (key, running) in &self.state().running {
            if matches(key, running) {
                (running.cancel)();
            }
        }
    }

    pub fn clients(&self) -> u32 {
        self.state().clients
    }

    pub fn has_requests(&self) -> bool {
        !self.state().running.is_empty()
    }

    /// Takes no further request and ends those that run.
    pub fn stop(&self) {
        self.state().is_stopping = true;
        self.cancel_where(|_, _| true);
    }

    pub fn is_stopping(&self) -> bool {
        self.state().is_stopping
    }

    /// How long nothing has gone on; zero while something does.
    pub fn idle(&self) -> Duration {
        let state = self.state();
        if state.clients > 0 || !state.running.is_empty() {
            Duration::ZERO
        } else {
            state.last_activity.elapsed()
        }
    }
}
