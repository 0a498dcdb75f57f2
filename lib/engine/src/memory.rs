//! How much memory is left to this process on a device. Of main memory: the machine's, its control groups' and its
//! own address space's, whichever ends first, by Linux's files; of a card's its driver says it.

use std::{
    error::Error,
    fmt, fs,
    path::{Path, PathBuf},
};

use wire::model::Device;

use crate::cuda;

/// What must stay free on a device when a conversation grows, for what is computed of it.
pub(crate) const SLACK: u64 = 64 << 20;

/// Memory that a device does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Shortage {
    /// What it was for.
    pub what: String,
    pub device: Device,
    /// Bytes that are wanted.
    pub wanted: u64,
    /// Bytes that there are.
    pub available: u64,
}

impl Shortage {
    /// Bytes that are missing.
    pub(crate) fn missing(&self) -> u64 {
        let wanted = self.wanted.saturating_add(SLACK);
        wanted.saturating_sub(self.available)
    }
}

impl fmt::Display for Shortage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = [self.wanted, SLACK, self.available, self.missing()];
        let [wanted, slack, available, missing] = sizes.map(megabytes);
        write!(
            f,
            "{} takes {wanted} more on `{}`, and {slack} to work in; {available} are free there: {missing} are missing",
            self.what, self.device
        )
    }
}

impl Error for Shortage {}

impl From<Shortage> for candle_core::Error {
    fn from(shortage: Shortage) -> Self {
        // Of candle's errors the one that keeps another whole.
        Self::WrappedContext {
            context: shortage.to_string(),
            wrapped: Box::new(shortage),
        }
    }
}

/// For a sentence.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.0} MB", bytes as f64 / 1e6)
}

/// Bytes that this process can still take on a device; `None` where nothing says.
pub fn available_on(device: Device) -> Option<u64> {
    match device {
        Device::Cuda(number) => cuda::free_bytes(number),
        Device::Cpu | Device::Auto => available_bytes(),
    }
}

/// Fails where a device has not so much left, and some to work with.
pub(crate) fn check(
    device: Device,
    wanted: u64,
    what: impl FnOnce() -> String,
) -> Result<(), Shortage> {
    let needed = wanted.saturating_add(SLACK);
    if has_at_once(device, needed) {
        return Ok(());
    }
    match available(device) {
        Some(available) if available < needed => Err(Shortage {
            what: what(),
            device,
            wanted,
            available,
        }),
        _ => Ok(()),
    }
}

/// Whether a card has so much, by a glance for which nobody waits.
fn has_at_once(device: Device, bytes: u64) -> bool {
    #[cfg(test)]
    if tests::TOLD.with_borrow(|told| !told.is_empty()) {
        return false;
    }
    matches!(device, Device::Cuda(number) if cuda::unused_bytes(number).is_some_and(|unused| unused >= bytes))
}

fn available(device: Device) -> Option<u64> {
    #[cfg(test)]
    if let Some(told) = tests::TOLD.with_borrow_mut(Vec::pop) {
        return Some(told);
    }
    available_on(device)
}

/// Bytes that this process can still take without swapping; `None` where nothing says.
pub fn available_bytes() -> Option<u64> {
    available_below(Path::new("/"))
}

/// Bytes of main memory that this process takes, from `/proc/self/status`; 0 where unknown.
pub fn process_bytes() -> u64 {
    kilobytes(Path::new("/proc/self/status"), "VmRSS:").unwrap_or(0)
}

fn available_below(root: &Path) -> Option<u64> {
    [
        kilobytes(&root.join("proc/meminfo"), "MemAvailable:"),
        group_bytes(root),
        address_space(root),
    ]
    .into_iter()
    .flatten()
    .min()
}

/// What the control groups leave: the least of this process's own and those above it.
fn group_bytes(root: &Path) -> Option<u64> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let slack = groups.lines().filter_map(|line| {
        // `0::/path` in version 2, `5:memory:/path` or `5:cpu,memory:/path` in version 1.
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?);
        let (mount, files) = if controllers.is_empty() {
            (root.join("sys/fs/cgroup"), &VERSION_2)
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("sys/fs/cgroup/memory"), &VERSION_1)
        } else {
            return None;
        };
        let group = mount.join(path.trim_start_matches('/'));
        // In a container a group's path may be the host's, and only its last folder be mounted: the
        // folders that are not there are passed over.
        let folders = group.ancestors().take_while(|at| at.starts_with(&mount));
        folders.filter_map(|folder| files.slack(folder)).min()
    });
    slack.min()
}

/// The files of a control group.
struct GroupFiles {
    limit: &'static str,
    usage: &'static str,
    /// Fields of `memory.stat` with the page cache, which is given up when memory is short.
    reclaimable: [&'static str; 2],
}

const VERSION_2: GroupFiles = GroupFiles {
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: ["inactive_file", "active_file"],
};

const VERSION_1: GroupFiles = GroupFiles {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: ["total_inactive_file", "total_active_file"],
};

impl GroupFiles {
    /// Bytes that a group has left; `None` where it has no limit.
    fn slack(&self, folder: &Path) -> Option<u64> {
        let number = |file: &str| -> Option<u64> {
            let path: PathBuf = folder.join(file);
            fs::read_to_string(path).ok()?.trim().parse().ok()
        };
        let (limit, usage) = (number(self.limit)?, number(self.usage)?);
        let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
        let reclaimable: u64 = stat
            .lines()
            .filter_map(|line| line.split_once(' '))
            .filter(|(field, _)| self.reclaimable.contains(field))
            .filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok())
            .sum();
        Some(limit.saturating_sub(usage.saturating_sub(reclaimable)))
    }
}

/// What `ulimit -v` leaves; `None` where it is unlimited.
fn address_space(root: &Path) -> Option<u64> {
    let limits = fs::read_to_string(root.join("proc/self/limits")).ok()?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max address space"))?;
    let limit: u64 = line.split_whitespace().next()?.parse().ok()?;
    let used = kilobytes(&root.join("proc/self/status"), "VmSize:").unwrap_or(0);
    Some(limit.saturating_sub(used))
}

fn kilobytes(file: &Path, field: &str) -> Option<u64> {
    let text = fs::read_to_string(file).ok()?;
    let line = text.lines().find(|line| line.starts_with(field))?;
    let number: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(number * 1024)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    thread_local! {
        /// What [`check`] is told is available on this thread, the next one last; then what there is.
        pub(crate) static TOLD: std::cell::RefCell<Vec<u64>> = const { std::cell::RefCell::new(Vec::new()) };
    }

    #[test]
    fn a_shortage_says_what_is_missing() {
        TOLD.set(vec![200 << 20]);
        let shortage = check(Device::Cuda(1), 300 << 20, || {
            "a cache of 9 tokens".to_owned()
        });
        assert_eq!(
            shortage.expect_err("is too much").to_string(),
            "a cache of 9 tokens takes 315 MB more on `cuda:1`, and 67 MB to work in; 210 MB are free there: 172 MB are missing"
        );
        TOLD.set(vec![364 << 20]);
        assert_eq!(check(Device::Cpu, 300 << 20, String::new), Ok(()));
    }

    fn available(files: &[(&str, &str)]) -> Option<u64> {
        let root = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().expect("is below")).expect("a folder");
            fs::write(path, text).expect("is written");
        }
        available_below(root.path())
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal: 9 kB\nMemAvailable:  4000 kB\n");

    #[test]
    fn without_limits_it_is_the_machines() {
        assert_eq!(available(&[MACHINE]), Some(4000 * 1024));
        let unlimited = [
            MACHINE,
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "max\n"),
            ("sys/fs/cgroup/memory.current", "77\n"),
            (
                "proc/self/limits",
                "Max address space  unlimited  unlimited  bytes\n",
            ),
        ];
        assert_eq!(available(&unlimited), Some(4000 * 1024));
        assert_eq!(available(&[]), None);
    }

    #[test]
    fn a_group_above_limits_too_and_gives_up_its_page_cache() {
        let files = [
            MACHINE,
            ("proc/self/cgroup", "0::/user/cell\n"),
            ("sys/fs/cgroup/user/cell/memory.max", "max\n"),
            ("sys/fs/cgroup/user/cell/memory.current", "500000\n"),
            ("sys/fs/cgroup/user/memory.max", "1000000\n"),
            ("sys/fs/cgroup/user/memory.current", "900000\n"),
            (
                "sys/fs/cgroup/user/memory.stat",
                "anon 1\ninactive_file 200000\nactive_file 100000\n",
            ),
        ];
        assert_eq!(available(&files), Some(400_000));
    }

    #[test]
    fn version_1_in_a_container_that_shows_its_own_group_as_the_top() {
        let files = [
            MACHINE,
            ("proc/self/cgroup", "4:cpu:/x\n5:memory:/docker/abc\n0::/\n"),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "1000000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "300000\n"),
            (
                "sys/fs/cgroup/memory/memory.stat",
                "inactive_file 9\ntotal_inactive_file 100000\n",
            ),
        ];
        assert_eq!(available(&files), Some(800_000));
    }

    #[test]
    fn an_address_space_with_a_limit_ends_first() {
        let files = [
            MACHINE,
            (
                "proc/self/limits",
                "Limit Soft Hard Units\nMax address space         2048000    2048000   bytes\n",
            ),
            ("proc/self/status", "VmSize:\t 1000 kB\n"),
        ];
        assert_eq!(available(&files), Some(1_024_000));
    }
}
