//! What warps of a block share: its memory, and who used which word of it, so that a use that a card leaves undefined is
//! found: two threads at one word without a barrier between, one of them to write.

use crate::run::Launch;

/// What warps of a block share.
pub(crate) struct Block<'a> {
    pub(crate) launch: &'a Launch<'a>,
    pub(crate) place: [u32; 3],
    pub(crate) shared: Vec<u8>,
    /// Who used the words of it last.
    uses: Vec<Use>,
    pub(crate) local: Vec<u8>,
    /// Barriers that all have passed, from one on.
    pub(crate) epoch: u32,
}

/// Who used a word between barriers. Epochs of warps count what its threads wait for each other by.
#[derive(Clone, Copy, Default)]
struct Use {
    written: Moment,
    read: Moment,
    /// Warps that read it at that epoch.
    readers: u32,
    /// Threads of the warp that read it last.
    lanes: u32,
    /// By what others may do at once.
    changed: Moment,
    /// Whether another thread than that one did at that epoch, too.
    is_changed_by_several: bool,
}

/// How a word is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Read,
    Write,
    /// By what others may do at once.
    Change,
}

#[derive(Clone, Copy, Default, PartialEq)]
pub(crate) struct Moment {
    /// Barriers of the block that were passed, from one on.
    pub(crate) epoch: u32,
    pub(crate) warp: u32,
    /// How often threads of the warp had waited for each other.
    pub(crate) of_warp: u32,
    pub(crate) lane: u32,
}

impl<'a> Block<'a> {
    pub(crate) fn new(launch: &'a Launch<'a>, place: [u32; 3], threads: usize) -> Self {
        let bytes = launch.program.shared_bytes + launch.shared_bytes;
        Self {
            launch,
            place,
            shared: vec![0xff; bytes],
            uses: vec![Use::default(); bytes.div_ceil(4)],
            local: vec![0xff; launch.program.local_bytes * threads],
            epoch: 1,
        }
    }

    /// Remembers a use of a word, and says whether it is one that a card leaves undefined.
    pub(crate) fn is_race(&mut self, word: usize, now: Moment, how: How) -> bool {
        let Some(used) = self.uses.get_mut(word) else {
            return false;
        };
        let wrote = used.written.epoch == now.epoch && used.written.is_beside(now);
        let changed = used.changed.epoch == now.epoch
            && (used.is_changed_by_several || used.changed.is_beside(now));
        let read = used.read.epoch == now.epoch
            && (used.readers & !(1 << now.warp) != 0
                || (used.read.is_of_same(now) && used.lanes & !(1 << now.lane) != 0));
        match how {
            How::Read => {
                if used.read.epoch != now.epoch {
                    used.readers = 0;
                }
                if used.read.epoch != now.epoch || !used.read.is_of_same(now) {
                    used.lanes = 0;
                }
                used.read = now;
                used.readers |= 1 << now.warp;
                used.lanes |= 1 << now.lane;
                wrote || changed
            }
            How::Write => {
                used.written = now;
                wrote || changed || read
            }
            How::Change => {
                used.is_changed_by_several = changed;
                used.changed = now;
                wrote || read
            }
        }
    }
}

impl Moment {
    /// Whether a thread of the same warp did it, none of which has waited for others since.
    fn is_of_same(self, now: Self) -> bool {
        (self.warp, self.of_warp) == (now.warp, now.of_warp)
    }

    /// Whether another thread did it, and nobody has waited for it since, of one epoch of the block.
    fn is_beside(self, now: Self) -> bool {
        self.warp != now.warp || (self.is_of_same(now) && self.lane != now.lane)
    }
}
