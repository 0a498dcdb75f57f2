//! Blocks of 64 values to codes of 4 bits, as bitsandbytes quantises them. The meaning that
//! `unsafe_avx2_pack` must have, and what runs where there is no AVX2.

/// Values of a block.
pub(crate) const BLOCK: usize = 64;
/// Values that are compared at once.
const LANES: usize = 16;
/// bitsandbytes divides by no less than this.
const LEAST: f32 = 1e-38;

/// The largest magnitude, NaN where one of the values is: as bits, among which every NaN is beyond infinity.
pub(crate) fn largest(values: &[f32]) -> f32 {
    let magnitude = |value: &f32| value.abs().to_bits().cast_signed();
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = magnitude(value).max(*lane);
        }
    }
    let all = rest.iter().map(magnitude).chain(lanes);
    f32::from_bits(all.fold(0, i32::max).cast_unsigned())
}

/// What the values of a block of this largest magnitude are divided by. Not `max`, which would make a number of NaN.
pub(crate) fn divisor(largest: f32) -> f32 {
    if largest < LEAST { LEAST } else { largest }
}

/// What stands between the sixteen values of a type.
pub(crate) struct Bounds {
    /// Midpoints of neighbours, ascending; a value on one belongs to the lower code.
    pub bounds: [f32; 15],
    /// Codes by ascending value.
    pub order: [u8; 16],
}

impl Bounds {
    /// How many bounds lie below each value; below NaN all, as torch's search has it.
    fn places<const N: usize>(&self, values: &[f32; N]) -> [u8; N] {
        let mut places = [0_i32; N];
        for bound in self.bounds {
            for (place, value) in places.iter_mut().zip(values) {
                *place += i32::from(*value > bound);
            }
        }
        let mut places = places.map(|place| place as u8);
        for (place, value) in places.iter_mut().zip(values) {
            if value.is_nan() {
                *place = self.bounds.len() as u8;
            }
        }
        places
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
    let absmax = largest(values);
    let inverse = 1.0 / divisor(absmax);
    let scaled = values.map(|value| (value * inverse).clamp(-1.0, 1.0));
    bounds.pack(&scaled, packed);
    absmax
}

#[cfg(test)]
mod tests {
    use super::largest;

    /// A NaN was once passed over, and became a number like others.
    #[test]
    fn the_largest_is_found_wherever_it_is() {
        for length in [1, 15, 16, 17, 40] {
            for at in 0..length {
                let mut values = vec![0.5; length];
                for value in [-2.0, f32::NEG_INFINITY] {
                    values[at] = value;
                    assert_eq!(largest(&values).to_bits(), value.abs().to_bits());
                }
                values[(at + 1) % length] = -f32::NAN;
                assert!(largest(&values).is_nan());
            }
        }
        assert_eq!(largest(&[]).to_bits(), 0);
    }
}
