//! Gives memory that was freed back to the system, that of cards too. Unsafe for one call into the C library.
//!
//! The weights of a model are some hundred vectors of up to some megabytes. glibc keeps such sizes in
//! its heaps once the first of them was freed, and after a model has gone two thirds of its memory
//! would stay with the process. An allocator of another kind (mimalloc, jemalloc) would give it back
//! by itself after a while, but would be compiled from C, and serve the processes of the kernel and
//! of the cells too, which are the same binary; asking once, when a model goes, is enough.

/// Asks now.
pub(crate) fn return_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes the allocator's own locks and touches only memory that is free.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Asks when it is dropped. The last field of what holds much memory, so that this goes first.
#[derive(Debug)]
pub(crate) struct ReturnMemory {
    /// Whether some of it is a card's.
    pub of_cards: bool,
}

impl Drop for ReturnMemory {
    fn drop(&mut self) {
        return_memory();
        if self.of_cards {
            crate::cuda::return_memory();
        }
    }
}
