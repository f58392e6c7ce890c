//! Byte strings of some ten bytes, read and written by words: a call of `memcpy` or `memcmp` costs
//! more than the work itself.

/// Returns the first and the last word of up to 16 bytes. They overlap if there are fewer bytes.
/// With the length they determine all bytes.
#[inline]
pub(super) fn words(bytes: &[u8]) -> [u64; 2] {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return [first, last].map(|word| u64::from_le_bytes(*word));
    }
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        return [first, last].map(|half| u32::from_le_bytes(*half).into());
    }
    match *bytes {
        [] => [0, 0],
        [first] => [first.into(), 0],
        [first, .., last] => [u64::from(first) | u64::from(bytes[1]) << 8, last.into()],
    }
}

/// Copies bytes to a place of the same length.
#[inline]
pub(super) fn copy(bytes: &[u8], place: &mut [u8]) {
    match bytes.len() {
        8..=16 => copy_ends::<8>(bytes, place),
        17..=32 => copy_ends::<16>(bytes, place),
        4..=7 => copy_ends::<4>(bytes, place),
        0..=3 => {
            for (byte, place) in bytes.iter().zip(place) {
                *place = *byte;
            }
        }
        _ => place.copy_from_slice(bytes),
    }
}

/// Copies the first `N` and the last `N` bytes, which are all bytes of `N` to `2 * N`.
#[inline]
fn copy_ends<const N: usize>(bytes: &[u8], place: &mut [u8]) {
    if let (Some(from), Some(to)) = (bytes.first_chunk::<N>(), place.first_chunk_mut()) {
        *to = *from;
    }
    if let (Some(from), Some(to)) = (bytes.last_chunk::<N>(), place.last_chunk_mut()) {
        *to = *from;
    }
}

/// Compares two byte strings.
#[inline]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && match a.len() {
            0..=16 => words(a) == words(b),
            17..=32 => ends(a) == ends(b),
            _ => a == b,
        }
}

/// Returns the first and the last 16 bytes, which are all bytes of 16 to 32. `None` if there are
/// fewer.
#[inline]
pub(super) fn ends(bytes: &[u8]) -> Option<[u128; 2]> {
    let ends = [bytes.first_chunk()?, bytes.last_chunk()?];
    Some(ends.map(|end| u128::from_le_bytes(*end)))
}
