//! Blocks of 64 values to codes of 4 bits, as bitsandbytes quantises them. The meaning that
//! `unsafe_avx2_pack` must have, and what runs where there is no AVX2.

/// Values of a block.
pub(crate) const BLOCK: usize = 64;
/// Values that are compared at once.
const LANES: usize = 16;
/// bitsandbytes divides by no less than this.
pub(crate) const LEAST: f32 = 1e-38;

/// What stands between the sixteen values of a type.
pub(crate) struct Bounds {
    /// Midpoints of neighbours, ascending; a value on one belongs to the lower code.
    pub bounds: [f32; 15],
    /// Codes by ascending value.
    pub order: [u8; 16],
}

impl Bounds {
    /// How many bounds lie below each value.
    fn places<const N: usize>(&self, values: &[f32; N]) -> [u8; N] {
        let mut places = [0_i32; N];
        for bound in self.bounds {
            for (place, value) in places.iter_mut().zip(values) {
                *place += i32::from(*value > bound);
            }
        }
        places.map(|place| place as u8)
    }

    /// Two codes a byte, the first in the high half.
    pub fn pack(&self, values: &[f32], packed: &mut [u8]) {
        let (chunks, rest) = values.as_chunks::<LANES>();
        let is_ordered = self.order.is_sorted();
        let mut put = |at: usize, places: &[u8]| {
            let pairs = places.as_chunks::<2>().0;
            for (byte, &[first, second]) in packed[at..].iter_mut().zip(pairs) {
                *byte = if is_ordered {
                    first << 4 | second
                } else {
                    let code = |place| self.order[usize::from(place)];
                    code(first) << 4 | code(second)
                };
            }
        };
        for (index, chunk) in chunks.iter().enumerate() {
            put(index * LANES / 2, &self.places(chunk));
        }
        if !rest.is_empty() {
            // An odd end is padded with a zero.
            let mut last = [0.0; LANES];
            last[..rest.len()].copy_from_slice(rest);
            let places = self.places(&last);
            put(
                chunks.len() * LANES / 2,
                &places[..rest.len().next_multiple_of(2)],
            );
        }
    }
}

/// Quantises a block: packs its codes and gives its scale, its largest magnitude.
pub(super) fn pack_block(values: &[f32; BLOCK], bounds: &Bounds, packed: &mut [u8]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for chunk in values.as_chunks::<LANES>().0 {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            // Not `max`, whose rule for NaN costs a comparison more; NaN is left out here too.
            *lane = if value.abs() > *lane {
                value.abs()
            } else {
                *lane
            };
        }
    }
    let absmax = lanes.into_iter().fold(0.0, f32::max);
    let inverse = 1.0 / absmax.max(LEAST);
    let scaled = values.map(|value| (value * inverse).clamp(-1.0, 1.0));
    bounds.pack(&scaled, packed);
    absmax
}
