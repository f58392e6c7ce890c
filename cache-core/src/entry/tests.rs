use super::*;

#[test]
fn header_of_an_entry_is_at_most_64_bytes() {
    const { assert!(size_of::<Entry>() == 40) };
    const { assert!(OVERHEAD <= 64) };
}
