//! What threads of a warp make of each other's registers.

use crate::{
    lanes::{Lanes, WARP},
    numbers::{Type, float, rounded},
    program::{Act, Instruction, Shuffle},
    warp::{Warp, lanes},
};

impl Warp<'_> {
    /// What threads of a warp make of each other's registers.
    pub(crate) fn exchange(&mut self, act: &Act, instruction: &Instruction, mask: u32) {
        let at = &instruction.at;
        match act {
            Act::Shuffle(mode) => self.shuffle(*mode, at, mask),
            Act::Ballot => {
                let votes = self.registers.truth(at[1]) & mask;
                self.registers.put(at[0], &[votes.into(); WARP], mask);
            }
            Act::Multiply(kind, columns) => self.multiply(*kind, *columns as usize, at),
            _ => {}
        }
    }

    /// "shfl.sync", with what the lower and the higher bits of its bounds say.
    fn shuffle(&mut self, mode: Shuffle, at: &[u32], mask: u32) {
        let (source, distance, bounds) = (
            self.registers.get(at[2]),
            self.registers.get(at[3]),
            self.registers.get(at[4]),
        );
        let (mut taken, mut is_one): (Lanes, Lanes) = ([0; WARP], [0; WARP]);
        for lane in lanes(mask) {
            let (distance, bounds) = (distance[lane] as usize & 31, bounds[lane] as usize);
            let segment = bounds >> 8 & 31;
            let last = lane & segment | bounds & 31 & !segment;
            let (from, is_within) = match mode {
                Shuffle::Butterfly => (lane ^ distance, lane ^ distance <= last),
                Shuffle::Down => (lane + distance, lane + distance <= last),
                Shuffle::Up => (lane.wrapping_sub(distance), lane >= distance + last),
                Shuffle::Index => {
                    let from = lane & segment | distance & !segment;
                    (from, from <= last)
                }
            };
            let from = if is_within { from } else { lane };
            is_one[lane] = is_within.into();
            // Of who did not come, nothing that could be meant.
            taken[lane] = if mask >> from & 1 != 0 {
                source[from]
            } else {
                0xfff8_dead
            };
        }
        self.registers.put(at[0], &taken, mask);
        self.registers.put(at[1], &is_one, mask);
    }

    /// "mma.m16n8k16" and "mma.m16n8k8": sums in doubles, rounded once.
    fn multiply(&mut self, kind: Type, columns: usize, at: &[u32]) {
        let (results, rest) = at.split_at(4);
        let (a, rest) = rest.split_at(columns / 4);
        let (b, sums) = rest.split_at(columns / 8);
        let half = |bits: u64, place: usize| float(kind, bits >> (16 * (place % 2)));
        // Element `(row, column)` of a, and of b.
        let a_at = |row: usize, column: usize| {
            let register = a[row / 8 + 2 * (column / 8)];
            half(
                self.registers.get(register)[row % 8 * 4 + column % 8 / 2],
                column,
            )
        };
        let b_at = |row: usize, column: usize| {
            half(
                self.registers.get(b[row / 8])[column * 4 + row % 8 / 2],
                row,
            )
        };
        let mut made = [[0; WARP]; 4];
        let a: Vec<f64> = (0..16 * columns)
            .map(|at| a_at(at / columns, at % columns))
            .collect();
        let b: Vec<f64> = (0..8 * columns)
            .map(|at| b_at(at % columns, at / columns))
            .collect();
        for (place, made) in made.iter_mut().enumerate() {
            for (lane, made) in made.iter_mut().enumerate() {
                let (row, column) = (lane / 4 + 8 * (place / 2), 2 * (lane % 4) + place % 2);
                let (a, b) = (
                    &a[row * columns..][..columns],
                    &b[column * columns..][..columns],
                );
                let before = float(Type::Float(32), self.registers.get(sums[place])[lane]);
                let sum = a.iter().zip(b).fold(before, |sum, (a, b)| sum + a * b);
                *made = rounded(Type::Float(32), sum);
            }
        }
        for (register, made) in results.iter().zip(&made) {
            self.registers.put(*register, made, u32::MAX);
        }
    }
}
