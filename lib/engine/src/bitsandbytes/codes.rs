//! The code books of bitsandbytes: sixteen values of `nf4` and `fp4` (`get_4bit_type`), the dynamic map
//! of 8 bits (`create_dynamic_map`), and how a value finds its code.

use std::sync::LazyLock;

use wire::model::FourBitType;

use crate::kernels::Bounds;

/// `nf4`, in ascending order.
#[expect(
    clippy::excessive_precision,
    clippy::unreadable_literal,
    reason = "as bitsandbytes writes them"
)]
const NF4: [f32; 16] = [
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
];

/// `fp4` times twelve, the sign in the highest bit of the index. bitsandbytes has no negative zero.
const FP4: [f32; 16] = [
    0.0, 0.0625, 8.0, 12.0, 4.0, 6.0, 2.0, 3.0, 0.0, -0.0625, -8.0, -12.0, -4.0, -6.0, -2.0, -3.0,
];

/// Indices of [`FP4`] by ascending value, the two zeros in the order that torch's `argsort` gives.
const FP4_ORDER: [u8; 16] = [11, 10, 13, 12, 15, 14, 9, 0, 8, 1, 6, 7, 4, 5, 2, 3];
const NF4_ORDER: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The value of each 4-bit code.
pub fn code_book(kind: FourBitType) -> [f32; 16] {
    match kind {
        FourBitType::Nf4 => NF4,
        FourBitType::Fp4 => FP4.map(|value| value / 12.0),
    }
}

/// What stands between the values of a type.
pub(crate) fn bounds(kind: FourBitType) -> Bounds {
    let book = code_book(kind);
    let order = match kind {
        FourBitType::Nf4 => NF4_ORDER,
        FourBitType::Fp4 => FP4_ORDER,
    };
    let at = |index: usize| book[usize::from(order[index])];
    Bounds {
        bounds: std::array::from_fn(|i| f32::midpoint(at(i), at(i + 1))),
        order,
    }
}

/// The positive values of the dynamic map below 1, as bits: means of steps from 0.1 to 1, times a power
/// of ten. Torch's `linspace` rounds them in an order of its own, so they stand here as it gives them.
const DYNAMIC: [u32; 127] = [
    0x3513_a3b7,
    0x365a_1a94,
    0x3702_05ff,
    0x37b2_4206,
    0x3837_8034,
    0x388a_efb3,
    0x38ba_1f4b,
    0x3923_d70b,
    0x398c_e705,
    0x39c7_e283,
    0x3a01_6f01,
    0x3a1e_ecc1,
    0x3a3c_6a80,
    0x3a59_e83e,
    0x3a77_65ff,
    0x3aa7_ef9d,
    0x3af1_a9fc,
    0x3b1d_b22d,
    0x3b42_8f5c,
    0x3b67_6c8a,
    0x3b86_24dd,
    0x3b98_9374,
    0x3bab_020d,
    0x3bbd_70a4,
    0x3bcf_df3b,
    0x3be2_4dd3,
    0x3bf4_bc6a,
    0x3c03_9581,
    0x3c0c_cccd,
    0x3c16_0418,
    0x3c1f_3b64,
    0x3c3a_e148,
    0x3c68_f5c3,
    0x3c8b_851f,
    0x3ca2_8f5d,
    0x3cb9_999a,
    0x3cd0_a3d7,
    0x3ce7_ae15,
    0x3cfe_b852,
    0x3d0a_e148,
    0x3d16_6667,
    0x3d21_eb85,
    0x3d2d_70a3,
    0x3d38_f5c3,
    0x3d44_7ae1,
    0x3d50_0000,
    0x3d5b_851f,
    0x3d67_0a3d,
    0x3d72_8f5d,
    0x3d7e_147b,
    0x3d84_cccd,
    0x3d8a_8f5d,
    0x3d90_51eb,
    0x3d96_147b,
    0x3d9b_d70a,
    0x3da1_999a,
    0x3da7_5c2a,
    0x3dad_1eb8,
    0x3db2_e148,
    0x3db8_a3d7,
    0x3dbe_6667,
    0x3dc4_28f7,
    0x3dc9_eb85,
    0x3ddb_3334,
    0x3df8_0000,
    0x3e0a_6666,
    0x3e18_cccd,
    0x3e27_3333,
    0x3e35_999a,
    0x3e44_0000,
    0x3e52_6666,
    0x3e60_cccd,
    0x3e6f_3333,
    0x3e7d_9999,
    0x3e86_0000,
    0x3e8d_3334,
    0x3e94_6666,
    0x3e9b_999a,
    0x3ea2_cccc,
    0x3eaa_0000,
    0x3eb1_3333,
    0x3eb8_6666,
    0x3ebf_999a,
    0x3ec6_cccc,
    0x3ece_0000,
    0x3ed5_3333,
    0x3edc_6666,
    0x3ee3_999a,
    0x3eea_cccc,
    0x3ef2_0000,
    0x3ef9_3332,
    0x3f00_3333,
    0x3f03_cccc,
    0x3f07_6666,
    0x3f0b_0000,
    0x3f0e_999a,
    0x3f12_3334,
    0x3f15_cccd,
    0x3f19_6666,
    0x3f1d_0000,
    0x3f20_999a,
    0x3f24_3334,
    0x3f27_cccd,
    0x3f2b_6666,
    0x3f2f_0000,
    0x3f32_999a,
    0x3f36_3334,
    0x3f39_cccd,
    0x3f3d_6666,
    0x3f41_0000,
    0x3f44_999a,
    0x3f48_3333,
    0x3f4b_cccd,
    0x3f4f_6666,
    0x3f53_0000,
    0x3f56_999a,
    0x3f5a_3333,
    0x3f5d_cccd,
    0x3f61_6666,
    0x3f65_0000,
    0x3f68_999a,
    0x3f6c_3333,
    0x3f6f_cccd,
    0x3f73_6666,
    0x3f77_0000,
    0x3f7a_999a,
    0x3f7e_3333,
];

/// The signed dynamic map of 8 bits: 256 values from -0.993 to 1, denser towards 0.
pub fn dynamic_map() -> &'static [f32; 256] {
    static MAP: LazyLock<[f32; 256]> = LazyLock::new(|| {
        std::array::from_fn(|index| match index {
            0..127 => -f32::from_bits(DYNAMIC[126 - index]),
            127 => 0.0,
            128..255 => f32::from_bits(DYNAMIC[index - 128]),
            _ => 1.0,
        })
    });
    &MAP
}

/// Steps of the table by which bitsandbytes' CPU library finds a code of the dynamic map.
const STEPS: f32 = 65_535.0;

/// The code of the dynamic map for a value of -1 to 1: the nearest to its place on a grid of 2¹⁶
/// steps, as the CPU library looks it up; near a midpoint that is not always the nearest code.
pub(super) fn dynamic_code(value: f32) -> u8 {
    static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let map = dynamic_map();
        let place = |step: u32| (2.0 * f64::from(step) / f64::from(STEPS) - 1.0) as f32;
        let bounds: Vec<f32> = map
            .windows(2)
            .map(|pair| f32::midpoint(pair[0], pair[1]))
            .collect();
        let code = |value: f32| bounds.partition_point(|bound| *bound < value) as u8;
        (0..=STEPS as u32).map(|step| code(place(step))).collect()
    });
    let step = (value.clamp(-1.0, 1.0) + 1.0) * 0.5 * STEPS + 0.5;
    TABLE[step as usize]
}
