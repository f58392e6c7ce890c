use std::collections::{BTreeMap, HashMap};

use equivalent::Equivalent;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::hash::{MULTIPLIER, hash_text};
use super::opaque::Opaque;
use super::short::same;
use super::*;

#[track_caller]
fn check<A: Serialize>(arguments: A, expected: &str) {
    let arguments = Arguments::encode(Tuple(&arguments), 1).unwrap();
    assert_eq!(render(arguments.as_bytes(), &[]), expected);
}

#[track_caller]
fn differ<A: Serialize, B: Serialize>(a: A, b: B) {
    let a = Arguments::encode(Tuple(&a), 1).unwrap();
    let b = Arguments::encode(Tuple(&b), 1).unwrap();
    assert_ne!(a.as_bytes(), b.as_bytes());
    assert_ne!(a.hash, b.hash);
    assert_ne!(render(a.as_bytes(), &[]), render(b.as_bytes(), &[]));
}

#[derive(Serialize)]
enum Sort {
    ByName,
    ByAge(u8),
    Range { from: u8, to: u8 },
}

#[derive(Serialize)]
struct Filter {
    #[serde(skip_serializing_if = "Option::is_none")]
    min: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max: Option<u64>,
}

#[test]
fn arguments_render_as_readable_text() {
    check((), "");
    check((42u64,), "42");
    check((-1i32, "alice"), "-1i32,alice");
    check(("a:b", "c d"), "'a%3Ab','c%20d'");
    check((None::<u64>, Some(None::<u64>), Some(7u64)), "~,~~,7");
    check(
        (Sort::ByName, Sort::ByAge(3), Sort::Range { from: 1, to: 2 }),
        ".ByName,.ByAge=3u8,.Range=(from=1u8,to=2u8)",
    );
    check((vec![1u64, 2], ("x", 'ß')), "[1,2],['x','ß'c]");
    check((true, 1.5f64, ()), "true,1.5f64,()");
    check((BTreeMap::from([("b", 2u64), ("a", 1)]),), "<a=1,b=2>");
}

#[test]
fn argument_lists_that_look_alike_have_different_keys() {
    differ(("a:b", "c"), ("a", "b:c"));
    differ(("a,b",), ("a", "b"));
    differ((None::<&str>,), ("",));
    differ((1u8,), (1u64,));
    differ((1i64,), (1u64,));
    differ(("1",), (1u64,));
    differ(("true",), (true,));
    differ(("~",), (None::<u64>,));
    differ((Some(None::<u64>),), (None::<Option<u64>>,));
    differ(((1u64, 2u64), 3u64), (1u64, (2u64, 3u64)));
    differ((vec!["a"], vec!["b"]), (vec!["a", "b"], Vec::<&str>::new()));
    differ(("ByName",), (Sort::ByName,));
    differ(
        (Filter {
            min: Some(1),
            max: None,
        },),
        (Filter {
            min: None,
            max: Some(1),
        },),
    );
    differ((), ("",));
}

#[test]
fn long_rendered_keys_end_in_a_digest() {
    let text = "k".repeat(500);
    let arguments = Arguments::encode(Tuple(&(&text,)), 1).unwrap();
    let other = Arguments::encode(Tuple(&(format!("{text}x"),)), 1).unwrap();
    let rendered = render(arguments.as_bytes(), &[]);
    assert_eq!(rendered.len(), 120 + 1 + 32);
    assert_ne!(rendered, render(other.as_bytes(), &[]));
    assert_eq!(arguments.as_bytes().len(), 1 + 1 + 4 + 500 + 1);
}

#[test]
fn equal_maps_have_equal_keys_in_any_order_of_iteration() {
    let encode = |map: &HashMap<u64, u64>| {
        Arguments::encode(Tuple(&(map,)), 1)
            .unwrap()
            .as_bytes()
            .to_vec()
    };
    let up: HashMap<u64, u64> = (0..100).map(|n| (n, n)).collect();
    let down: HashMap<u64, u64> = (0..100).rev().map(|n| (n, n)).collect();
    assert_eq!(encode(&up), encode(&down));
}

#[test]
fn template_places_the_arguments() {
    let arguments = Arguments::encode(Tuple(&(7u64, "x/y")), 1).unwrap();
    let template = [
        Piece::Literal("user:"),
        Piece::Argument,
        Piece::Literal(":"),
        Piece::Argument,
    ];
    assert_eq!(render(arguments.as_bytes(), &template), "user:7:'x%2Fy'");
}

#[test]
fn arbitrary_bytes_render_without_a_panic() {
    let mut bytes = Vec::new();
    for seed in 0..2_000u64 {
        bytes.clear();
        bytes
            .extend((0..seed % 40).map(|n| (xxh3_64_with_seed(&n.to_le_bytes(), seed) % 32) as u8));
        let _ = render(&bytes, &[]);
    }
}

#[test]
fn key_is_found_only_by_its_full_bytes() {
    let one = KeyRef {
        hash: 1,
        function: FunctionId(1),
        arguments: b"a",
    };
    let same_hash = KeyRef {
        arguments: b"b",
        ..one
    };
    assert!(one.equivalent(&one.to_owned()));
    assert!(!same_hash.equivalent(&one.to_owned()));
    assert!(
        !KeyRef {
            function: FunctionId(2),
            ..one
        }
        .equivalent(&one.to_owned())
    );
}

#[test]
fn byte_strings_are_compared_up_to_the_last_byte() {
    let bytes: Vec<u8> = (0..40).collect();
    for len in 0..40 {
        assert!(same(&bytes[..len], &bytes.clone()[..len]));
        assert!(!same(&bytes[..len], &bytes[..=len]));
        for at in 0..len {
            let mut other = bytes[..len].to_vec();
            other[at] ^= 1;
            assert!(!same(&bytes[..len], &other), "{len} {at}");
        }
    }
}

#[test]
fn keys_that_differ_in_any_part_have_different_hashes() {
    let hash = |map: BTreeMap<u64, u64>| Arguments::encode(Tuple(&(map,)), 1).unwrap().hash;
    assert_ne!(
        hash(BTreeMap::from([(1, 1)])),
        hash(BTreeMap::from([(1, 2)]))
    );
    let flags = |at: usize| {
        let mut flags = [false; 128];
        (flags[at], flags[(at + 64) % 128]) = (true, true);
        Arguments::encode(Tuple(&(&flags[..],)), 1).unwrap().hash
    };
    assert_ne!(flags(1), flags(2));
}

/// A text of each length up to 200: with words of each kind, and longer than the buffer on the
/// stack.
fn texts() -> impl Iterator<Item = String> {
    let alphabet = || ('a'..='z').cycle();
    (0..=200).map(move |len| alphabet().take(len).collect())
}

#[test]
fn text_of_any_length_is_encoded_behind_its_tag_and_its_length() {
    for text in texts() {
        let arguments = Arguments::encode(Tuple(&(text.as_str(),)), 1).unwrap();
        let mut expected = vec![tag::SEQUENCE, tag::STR];
        expected.extend_from_slice(&(text.len() as u32).to_le_bytes());
        expected.extend_from_slice(text.as_bytes());
        expected.push(tag::END);
        assert_eq!(arguments.as_bytes(), expected);
    }
}

#[test]
fn stored_key_of_any_length_has_the_bytes_of_the_call() {
    assert_eq!(size_of::<Key>(), 40, "a hit reads the key of each slot");
    for text in texts() {
        let arguments = Arguments::encode(Tuple(&(text.as_str(),)), 1).unwrap();
        let key = arguments.key(FunctionId(7));
        let (stored, other) = (key.to_owned(), arguments.key(FunctionId(8)));
        assert_eq!(stored.as_ref().arguments, key.arguments);
        assert!(key.equivalent(&stored) && stored.is_of(FunctionId(7)));
        assert!(!other.equivalent(&stored));
        // The arguments (a u32, a u64) have 16 bytes, a text of 8 has 15.
        let is_long = key.arguments.len() > 26;
        assert_eq!(stored.size(), if is_long { key.arguments.len() } else { 0 });
    }
}

#[test]
fn texts_that_differ_in_length_or_in_any_byte_have_different_hashes() {
    for seed in [1, 0x1234_5678_9ABC_DEF0, 0xFEDC_BA98_7654_3210] {
        let mut hashes = std::collections::HashSet::new();
        let mut add = |kind, text: &[u8]| assert!(hashes.insert(hash_text(seed, kind, text)));
        for len in 1..=80 {
            // The words of equal bytes are the same for two lengths.
            let mut text = vec![b'a'; len];
            add(tag::STR, &text);
            add(tag::BYTES, &text);
            add(tag::VARIANT, &text);
            for at in 0..len {
                text[at] ^= 1;
                add(tag::STR, &text);
                text[at] ^= 1;
            }
        }
    }
}

/// If a word of the text alone could make a factor zero, all texts with that word had one hash.
#[test]
fn no_word_of_a_text_makes_its_hash_independent_of_the_seed() {
    for word in [
        0,
        u64::MAX,
        MULTIPLIER,
        MULTIPLIER ^ u64::from(tag::STR) << 40,
    ] {
        for other in [0, word] {
            let text = [word.to_le_bytes(), other.to_le_bytes()].concat();
            let hash = |seed| hash_text(seed, tag::STR, &text);
            assert!(hash(1) != 0 && hash(1) != hash(2), "{word:x}");
        }
    }
}

/// Other instances and later versions name keys by this digest.
#[test]
fn digest_of_a_key_is_the_same_in_every_version() {
    let digest = |arguments: Arguments| arguments.key(FunctionId(1)).to_owned().as_ref().digest(9);
    let encode = |text: &str| Arguments::encode(Tuple(&(text, 7u64)), 1).unwrap();
    assert_eq!(
        digest(encode("user0001")),
        0xd766_b3b3_6403_4164_f74d_0376_2389_4615
    );
    assert_eq!(
        digest(encode(&"k".repeat(40))),
        0x01f4_8afb_b09e_7ac7_b9ea_6f8d_37a6_ec9a
    );
}

#[track_caller]
fn check_replay<A: Serialize>(arguments: A) {
    let function = FunctionId(3);
    for seed in [0, 1, u64::MAX, 0x1234_5678_9ABC_DEF0] {
        let encoded = Arguments::encode(Tuple(&arguments), seed).unwrap();
        let unbound = Arguments::unbound(Tuple(&arguments)).unwrap();
        let key = unbound.key(function, seed);
        assert_eq!(key, encoded.key(function).to_owned());
    }
}

#[test]
fn unbound_arguments_have_the_key_of_a_call_for_any_seed() {
    check_replay(());
    check_replay((true, false, (), None::<u8>, Some(Some(7u64))));
    check_replay((1i8, 2i16, 3i32, 4i64, 5i128, -1f32, 0.5f64));
    check_replay((1u8, 2u16, 3u32, 4u64, 5u128, 'ß'));
    check_replay(("", "text", vec!["a", "b"], Vec::<u8>::new(), [1u64, 2]));
    check_replay((Sort::ByName, Sort::ByAge(3), Sort::Range { from: 1, to: 2 }));
    check_replay((Filter {
        min: Some(1),
        max: None,
    },));
    check_replay((HashMap::from([("b", vec![2u64]), ("a", vec![])]),));
    check_replay((BTreeMap::from([((1u8, "x"), BTreeMap::from([(1, "y")]))]),));
    check_replay((Opaque(&Sort::ByAge(1)), Opaque(&"text")));
    // Longer than the buffer on the stack, in one value and in many.
    check_replay(("k".repeat(500), vec![7u64; 100]));
}
