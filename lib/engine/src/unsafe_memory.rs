//! Which freed memory stays with the process and which goes back to the system. Unsafe for calls into the C
//! library.
//!
//! The weights of a model are some hundred vectors of up to some megabytes. glibc keeps such sizes in
//! its heaps once the first of them was freed, and after a model has gone two thirds of its memory
//! would stay with the process. An allocator of another kind (mimalloc, jemalloc) would give it back
//! by itself after a while, but would be compiled from C, and serve the processes of the kernel and
//! of the cells too, which are the same binary; asking once, when a model goes, is enough.

/// Keeps the memory of outputs. A product of a prompt has some megabytes, and lives until the next is made
/// of it: by default glibc gives such sizes back at once, and the system clears the same pages again and
/// again, which took a twentieth of a prompt's time. What a model leaves goes back by [`return_memory`].
pub(crate) fn keep_outputs() {
    /// The largest block that comes from a heap, as far as glibc lets it be set.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    const LARGEST: libc::c_int = 32 << 20;
    /// Free memory at the end of a heap that stays.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    const KEPT: libc::c_int = 64 << 20;
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets two numbers, under the allocator's own lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGEST);
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
    }
}

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
pub(crate) struct ReturnMemory;

impl Drop for ReturnMemory {
    fn drop(&mut self) {
        return_memory();
    }
}
