//! The memory of a card. Addresses are not those of this process, and none is given twice: what lies outside an
//! allocation, or in one that was given back, is nowhere.

use std::collections::BTreeMap;

/// All of it.
#[derive(Debug, Default)]
pub struct Memory {
    /// Bytes of each allocation, the index by which it is known below.
    bytes: Vec<Vec<u8>>,
    /// By where they start.
    starts: BTreeMap<u64, usize>,
    next: u64,
    used: u64,
    /// What the pool of the card has taken of it and keeps, though nobody may have it.
    reserved: u64,
    total: u64,
}

/// An allocation that was found, so that the next look at it is short.
#[derive(Clone, Copy, Debug, Default)]
pub struct Found {
    start: u64,
    bytes: u64,
    index: usize,
}

/// Where allocations start: as a card does.
const ALIGN: u64 = 512;

impl Memory {
    /// So many bytes, at addresses from one on.
    pub fn new(first: u64, total: u64) -> Self {
        Self {
            next: first,
            total,
            ..Self::default()
        }
    }

    /// Bytes that are not the pool's.
    pub fn free_bytes(&self) -> u64 {
        self.total - self.reserved
    }

    /// Bytes that somebody has.
    pub fn used_bytes(&self) -> u64 {
        self.used
    }

    /// Bytes that are the pool's.
    pub fn reserved_bytes(&self) -> u64 {
        self.reserved
    }

    /// Takes from the pool what nobody has, but so many bytes.
    pub fn trim(&mut self, kept: u64) {
        self.reserved = self.reserved.min(kept.max(self.used));
    }

    /// All bytes.
    pub fn total_bytes(&self) -> u64 {
        self.total
    }

    /// Gives bytes, in which lies nothing that anyone could take for a number. `None` where there are not so many.
    pub fn take(&mut self, bytes: usize) -> Option<u64> {
        let counted = (bytes as u64).max(1).next_multiple_of(ALIGN);
        if counted > self.total - self.used {
            return None;
        }
        self.used += counted;
        self.reserved = self.reserved.max(self.used);
        let start = self.next;
        // What lies between allocations belongs to nobody.
        self.next += counted + ALIGN;
        self.starts.insert(start, self.bytes.len());
        self.bytes.push(vec![0xff; bytes]);
        Some(start)
    }

    /// Takes bytes back. False where none were given from there on.
    pub fn give_back(&mut self, start: u64) -> bool {
        let Some(index) = self.starts.remove(&start) else {
            return false;
        };
        let bytes = std::mem::take(&mut self.bytes[index]);
        self.used -= (bytes.len() as u64).max(1).next_multiple_of(ALIGN);
        true
    }

    /// The bytes at an address, if all of them are of one allocation.
    pub fn at(&self, address: u64, count: usize) -> Option<&[u8]> {
        let found = self.find(address, count)?;
        let from = (address - found.start) as usize;
        self.bytes[found.index].get(from..from + count)
    }

    /// The same, to be changed.
    pub fn at_mut(&mut self, address: u64, count: usize) -> Option<&mut [u8]> {
        let found = self.find(address, count)?;
        let from = (address - found.start) as usize;
        self.bytes[found.index].get_mut(from..from + count)
    }

    fn find(&self, address: u64, count: usize) -> Option<Found> {
        let (&start, &index) = self.starts.range(..=address).next_back()?;
        let bytes = self.bytes[index].len() as u64;
        let end = (address - start).checked_add(count as u64)?;
        (end <= bytes).then_some(Found {
            start,
            bytes,
            index,
        })
    }

    /// Bytes, looked for first where the last were found.
    #[inline]
    pub fn read(&self, last: &mut Found, address: u64, count: usize) -> Option<&[u8]> {
        let from = self.look(last, address, count)?;
        self.bytes[last.index].get(from..from + count)
    }

    /// The same, to be written.
    #[inline]
    pub fn write(&mut self, last: &mut Found, address: u64, count: usize) -> Option<&mut [u8]> {
        let from = self.look(last, address, count)?;
        self.bytes[last.index].get_mut(from..from + count)
    }

    #[inline]
    fn look(&self, last: &mut Found, address: u64, count: usize) -> Option<usize> {
        let from = address.wrapping_sub(last.start);
        if from < last.bytes && last.bytes - from >= count as u64 {
            return Some(from as usize);
        }
        *last = self.find(address, count)?;
        Some((address - last.start) as usize)
    }

    /// What is at an address, in words.
    pub fn describe(&self, address: u64) -> String {
        match self.starts.range(..=address).next_back() {
            None => "before all that was taken".to_owned(),
            Some((start, index)) => format!(
                "byte {} of an allocation of {}",
                address - start,
                self.bytes[*index].len()
            ),
        }
    }
}

/// Bytes as the number that they are, the lowest first.
#[inline]
pub fn number(bytes: &[u8]) -> u64 {
    match *bytes {
        [a] => a.into(),
        [a, b] => u16::from_le_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_le_bytes([a, b, c, d]).into(),
        _ => {
            let mut all = [0; 8];
            all[..bytes.len()].copy_from_slice(bytes);
            u64::from_le_bytes(all)
        }
    }
}
