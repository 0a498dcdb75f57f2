//! Hands the jobs of one product to all cores and comes back when they are done. A token takes some
//! hundred products of a few microseconds each, which a general pool spends on waking its threads: here
//! helpers look for work for a moment before they sleep, and whoever hands it out works too and waits for
//! nobody who has not begun, so that a core that other programs took slows nothing down.
//!
//! Unsafe for the borrowed work that helpers see.

use std::{
    any::Any,
    cell::UnsafeCell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    sync::{
        Arc, LazyLock, Mutex, PoisonError, TryLockError,
        atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// How long a helper looks for work before it sleeps: longer than what lies between two products of a
/// token, shorter than what anyone would notice.
const LOOKS: Duration = Duration::from_micros(60);
/// Looks between two of at the clock.
const LOOKS_PER_CLOCK: usize = 16;

/// How long the one who hands out works alone after a helper has cost more than it brings: other programs have
/// the helper's core then, and take it for some milliseconds at a time. Doubled each time, up to the most.
const ALONE: Duration = Duration::from_millis(4);
/// The most of [`ALONE`].
const ALONE_AT_MOST: Duration = Duration::from_millis(256);
/// The part of work done together that may be lost by waiting: what a helper saves is more. A virtual machine's
/// core is gone for a moment again and again without being another's.
const MAY_BE_LOST: u32 = 10;
/// What may be lost at most of all work before. Whenever so much has gathered, [`Trust::alone`] halves.
const LOST_AT_MOST: Duration = Duration::from_millis(5);
/// Waits that are none.
const SHORT_WAIT: Duration = Duration::from_micros(100);

/// What jobs do; each gets its number.
type Work<'a> = &'a (dyn Fn(usize) + Sync);

/// Where work is posted.
struct Board {
    /// Whether there is work to join. Only then is `work` read, and only by those that `inside` counts.
    open: AtomicBool,
    work: UnsafeCell<Option<Work<'static>>>,
    jobs: AtomicUsize,
    /// The next job that nobody has; past `jobs` when all are taken.
    next: AtomicUsize,
    /// Helpers that look at the work.
    inside: AtomicUsize,
    /// What a helper's job panicked with.
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

// SAFETY: `work` is written only by the one who holds `Crew::turn`, while `open` is false and `inside` is
// zero after it; helpers read it only after they have counted themselves in and then seen `open`.
unsafe impl Sync for Board {}

struct Helper {
    thread: Thread,
    sleeps: Arc<AtomicBool>,
}

struct Crew {
    board: Arc<Board>,
    helpers: Vec<Helper>,
    /// Who hands work out holds it.
    turn: Mutex<Trust>,
}

/// Whether helpers have their cores to themselves, by how long they kept others waiting.
struct Trust {
    /// No work is handed out before.
    alone_until: Option<Instant>,
    /// How long that is the next time.
    alone: Duration,
    /// What waiting may still take.
    allowance: Duration,
}

impl Trust {
    const fn new() -> Self {
        Self {
            alone_until: None,
            alone: ALONE,
            allowance: Duration::ZERO,
        }
    }

    fn wants_help(&self) -> bool {
        self.alone_until.is_none_or(|until| Instant::now() > until)
    }

    /// Notes how long who handed out worked, and then waited.
    fn note(&mut self, worked: Duration, waited: Duration) {
        self.alone_until = None;
        self.allowance = (self.allowance + worked / MAY_BE_LOST).min(LOST_AT_MOST);
        if waited > worked + SHORT_WAIT {
            if let Some(left) = self.allowance.checked_sub(waited) {
                self.allowance = left;
                return;
            }
            self.alone_until = Some(Instant::now() + self.alone);
            self.alone = (self.alone * 2).min(ALONE_AT_MOST);
            self.allowance = Duration::ZERO;
        } else if self.allowance == LOST_AT_MOST && self.alone > ALONE {
            self.alone /= 2;
            self.allowance = Duration::ZERO;
        }
    }
}

/// One for each thread that rayon has, so that the same variable limits both.
static CREW: LazyLock<Crew> = LazyLock::new(|| Crew::new(rayon::current_num_threads() - 1));

/// Does jobs `0..jobs`, each once, on all cores. While another thread's jobs are being done, or inside
/// a job, the caller does them alone. A panic of a job is the caller's.
pub(super) fn share(jobs: usize, work: Work) {
    if jobs > 1 && !CREW.helpers.is_empty() {
        let turn = match CREW.turn.try_lock() {
            Ok(turn) => Some(turn),
            Err(TryLockError::Poisoned(turn)) => Some(turn.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        };
        if let Some(mut trust) = turn
            && trust.wants_help()
        {
            let (worked, waited) = CREW.run(jobs, work);
            trust.note(worked, waited);
            return;
        }
    }
    (0..jobs).for_each(work);
}

impl Crew {
    fn new(helpers: usize) -> Self {
        let board = Arc::new(Board {
            open: AtomicBool::new(false),
            work: UnsafeCell::new(None),
            jobs: AtomicUsize::new(0),
            next: AtomicUsize::new(0),
            inside: AtomicUsize::new(0),
            panic: Mutex::new(None),
        });
        // A helper that cannot be started is one fewer.
        let start = |index: usize| {
            let (board, sleeps) = (Arc::clone(&board), Arc::new(AtomicBool::new(false)));
            let flag = Arc::clone(&sleeps);
            let builder = thread::Builder::new().name(format!("kernels-{index}"));
            let started = builder.spawn(move || board.help(&flag)).ok()?;
            Some(Helper {
                thread: started.thread().clone(),
                sleeps,
            })
        };
        Self {
            helpers: (0..helpers).filter_map(start).collect(),
            board,
            turn: Mutex::new(Trust::new()),
        }
    }

    /// The caller holds `turn`. Gives how long it worked, and how long it then waited for helpers.
    fn run(&self, jobs: usize, work: Work) -> (Duration, Duration) {
        let started = Instant::now();
        let board = &*self.board;
        // SAFETY: the lifetime is that of the call: `Closes` ends the work and waits for all who look at
        // it, before this function returns or unwinds.
        let work = unsafe { std::mem::transmute::<Work<'_>, Work<'static>>(work) };
        // SAFETY: nobody looks: the work before was closed and left by all.
        unsafe { *board.work.get() = Some(work) };
        // One that the caller of earlier work did not stay for.
        *board.panic.lock().unwrap_or_else(PoisonError::into_inner) = None;
        board.jobs.store(jobs, SeqCst);
        board.next.store(0, SeqCst);
        let closes = Closes(board);
        board.open.store(true, SeqCst);
        for helper in self.helpers.iter().take(jobs - 1) {
            if helper.sleeps.swap(false, SeqCst) {
                helper.thread.unpark();
            }
        }
        board.take_jobs(work);
        let worked = started.elapsed();
        drop(closes);
        let waited = started.elapsed().saturating_sub(worked);
        let mut panic = board.panic.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(panic) = panic.take() {
            resume_unwind(panic);
        }
        (worked, waited)
    }
}

/// Ends the work and waits for those who are still at a job of it.
struct Closes<'a>(&'a Board);

impl Drop for Closes<'_> {
    fn drop(&mut self) {
        self.0.open.store(false, SeqCst);
        let mut looks = 0;
        while self.0.inside.load(SeqCst) > 0 {
            looks += 1;
            if looks < 2000 {
                std::hint::spin_loop();
            } else {
                // The helper's core has been taken from it: it may need this one.
                thread::yield_now();
            }
        }
    }
}

impl Board {
    fn has_jobs(&self) -> bool {
        self.open.load(SeqCst) && self.next.load(SeqCst) < self.jobs.load(SeqCst)
    }

    fn take_jobs(&self, work: Work) {
        let jobs = self.jobs.load(SeqCst);
        loop {
            let job = self.next.fetch_add(1, SeqCst);
            if job >= jobs {
                return;
            }
            work(job);
        }
    }

    /// What a helper does for ever.
    fn help(&self, sleeps: &AtomicBool) {
        loop {
            self.wait(sleeps);
            self.inside.fetch_add(1, SeqCst);
            if self.open.load(SeqCst) {
                // SAFETY: `inside` was counted up before `open` was seen, so that who closes the work
                // waits for this thread before the work ends or another is written.
                let work = unsafe { *self.work.get() };
                let done = catch_unwind(AssertUnwindSafe(|| {
                    if let Some(work) = work {
                        self.take_jobs(work);
                    }
                }));
                if let Err(panic) = done {
                    *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
                }
            }
            self.inside.fetch_sub(1, SeqCst);
        }
    }

    /// Until there is a job to take.
    fn wait(&self, sleeps: &AtomicBool) {
        let mut since = Instant::now();
        loop {
            for _ in 0..LOOKS_PER_CLOCK {
                if self.has_jobs() {
                    return;
                }
                std::hint::spin_loop();
            }
            if since.elapsed() > LOOKS {
                sleeps.store(true, SeqCst);
                // Whoever opens work after this line wakes this thread; who did before is seen here.
                if !self.open.load(SeqCst) {
                    thread::park();
                }
                sleeps.store(false, SeqCst);
                since = Instant::now();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ALONE, Duration, LOST_AT_MOST, MAY_BE_LOST, Trust, share};
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[test]
    fn who_waits_much_works_alone_for_a_while() {
        let (short, long) = (Duration::from_micros(50), Duration::from_millis(3));
        let mut trust = Trust::new();
        trust.note(short, short);
        assert!(trust.wants_help());
        for times in [2, 4] {
            trust.note(short, long);
            assert!(!trust.wants_help());
            assert_eq!(trust.alone, times * ALONE);
        }
        // And no longer once helpers have proved good for as long as it takes to trust them, twice.
        let good = LOST_AT_MOST.div_duration_f32(long / MAY_BE_LOST).ceil() as u32;
        for _ in 0..2 * good {
            trust.note(long, long);
        }
        assert!(trust.wants_help());
        assert_eq!(trust.alone, ALONE);
    }

    /// A core that is gone for a fifth of a millisecond each fifty products, as a virtual machine's may be.
    #[test]
    fn moments_without_a_core_are_borne() {
        let (product, moment) = (Duration::from_micros(60), Duration::from_micros(200));
        let mut trust = Trust::new();
        for number in 0..10_000 {
            trust.note(
                product,
                if number % 50 == 49 {
                    moment
                } else {
                    Duration::ZERO
                },
            );
            assert!(trust.wants_help(), "{number}");
        }
    }

    #[test]
    fn each_job_is_done_once() {
        for jobs in [0, 1, 2, 7, 1000] {
            let done: Vec<AtomicUsize> = (0..jobs).map(|_| AtomicUsize::new(0)).collect();
            share(jobs, &|job| {
                done[job].fetch_add(1, SeqCst);
            });
            assert!(done.iter().all(|times| times.load(SeqCst) == 1), "{jobs}");
        }
    }

    #[test]
    fn work_of_several_threads_and_inside_work_is_done() {
        let done = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        share(3, &|_| {
                            share(2, &|_| {
                                done.fetch_add(1, SeqCst);
                            });
                        });
                    }
                });
            }
        });
        assert_eq!(done.load(SeqCst), 4 * 500 * 6);
    }

    #[test]
    fn a_panic_of_a_job_is_the_callers_and_others_go_on() {
        for bad in [0, 5] {
            let caught = std::panic::catch_unwind(|| share(6, &|job| assert_ne!(job, bad)));
            assert!(caught.is_err(), "{bad}");
        }
        let done = AtomicUsize::new(0);
        share(4, &|_| {
            done.fetch_add(1, SeqCst);
        });
        assert_eq!(done.load(SeqCst), 4);
    }
}
