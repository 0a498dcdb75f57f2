//! The pace of displays that change: of many updates in quick succession the newest is sent, and the last
//! always. Servers drop what comes faster than some hundred messages a second, the last one included.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

/// About fifteen updates a second.
const INTERVAL: Duration = Duration::from_millis(67);

/// What was sent for each display, and what waits.
pub(crate) struct Frames<T> {
    displays: HashMap<String, Display<T>>,
}

struct Display<T> {
    sent: Instant,
    next: Option<T>,
}

impl<T> Default for Frames<T> {
    fn default() -> Self {
        Self {
            displays: HashMap::new(),
        }
    }
}

impl<T> Frames<T> {
    /// An update, given back when it is to be sent now.
    pub(crate) fn offer(&mut self, id: &str, update: T, now: Instant) -> Option<T> {
        match self.displays.get_mut(id) {
            Some(display) if display.next.is_some() || now < display.sent + INTERVAL => {
                display.next = Some(update);
                None
            }
            _ => {
                let display = Display {
                    sent: now,
                    next: None,
                };
                self.displays.insert(id.to_owned(), display);
                Some(update)
            }
        }
    }

    /// The display has been shown anew: what waited is older.
    pub(crate) fn forget(&mut self, id: &str) {
        self.displays.remove(id);
    }

    /// When the next update is to be sent.
    pub(crate) fn due(&self) -> Option<Instant> {
        let waiting = self.displays.values().filter(|one| one.next.is_some());
        waiting.map(|display| display.sent + INTERVAL).min()
    }

    /// The updates that are to be sent now.
    pub(crate) fn take_due(&mut self, now: Instant) -> Vec<T> {
        let due = self.displays.values_mut();
        let due = due.filter(|display| display.sent + INTERVAL <= now);
        due.filter_map(|display| {
            let next = display.next.take()?;
            display.sent = now;
            Some(next)
        })
        .collect()
    }

    /// All updates that wait; nothing is remembered.
    pub(crate) fn take_all(&mut self) -> Vec<T> {
        std::mem::take(&mut self.displays)
            .into_values()
            .filter_map(|display| display.next)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_flood_the_newest_is_sent_and_the_last() {
        let start = Instant::now();
        let mut frames = Frames::default();
        let mut sent = Vec::new();
        // A thousand updates in a second.
        for number in 0..1000 {
            let now = start + Duration::from_millis(number);
            sent.extend(frames.take_due(now));
            sent.extend(frames.offer("a", number, now));
        }
        assert!(sent.len() <= 16, "{}", sent.len());
        assert!(sent.is_sorted());
        assert_eq!(frames.take_all(), [999]);
        assert_eq!(frames.due(), None);
    }

    #[test]
    fn displays_have_paces_of_their_own() {
        let now = Instant::now();
        let mut frames = Frames::default();
        assert_eq!(frames.offer("a", 1, now), Some(1));
        assert_eq!(frames.offer("b", 2, now), Some(2));
        assert_eq!(frames.offer("a", 3, now), None);
        assert_eq!(frames.due(), Some(now + INTERVAL));
        frames.forget("a");
        assert_eq!(frames.due(), None, "what is shown anew is newer");
    }
}
