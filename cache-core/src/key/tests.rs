use std::collections::{BTreeMap, HashMap};

use super::*;

#[track_caller]
fn assert_renders<A: Serialize>(arguments: A, expected: &str) {
    let arguments = Arguments::encode(Tuple(&arguments), 1).unwrap();
    assert_eq!(render(arguments.as_bytes(), &[]), expected);
}

#[track_caller]
fn assert_differ<A: Serialize, B: Serialize>(a: A, b: B) {
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
fn rendered_arguments_are_readable() {
    assert_renders((), "");
    assert_renders((42u64,), "42");
    assert_renders((-1i32, "alice"), "-1i32,alice");
    assert_renders(("a:b", "c d"), "'a%3Ab','c%20d'");
    assert_renders((None::<u64>, Some(None::<u64>), Some(7u64)), "~,~~,7");
    assert_renders(
        (Sort::ByName, Sort::ByAge(3), Sort::Range { from: 1, to: 2 }),
        ".ByName,.ByAge=3u8,.Range=(from=1u8,to=2u8)",
    );
    assert_renders((vec![1u64, 2], ("x", 'ß')), "[1,2],['x','ß'c]");
    assert_renders((true, 1.5f64, ()), "true,1.5f64,()");
    assert_renders((BTreeMap::from([("b", 2u64), ("a", 1)]),), "<a=1,b=2>");
}

#[test]
fn argument_lists_that_look_alike_have_different_keys() {
    assert_differ(("a:b", "c"), ("a", "b:c"));
    assert_differ(("a,b",), ("a", "b"));
    assert_differ((None::<&str>,), ("",));
    assert_differ((1u8,), (1u64,));
    assert_differ((1i64,), (1u64,));
    assert_differ(("1",), (1u64,));
    assert_differ(("true",), (true,));
    assert_differ(("~",), (None::<u64>,));
    assert_differ((Some(None::<u64>),), (None::<Option<u64>>,));
    assert_differ(((1u64, 2u64), 3u64), (1u64, (2u64, 3u64)));
    assert_differ((vec!["a"], vec!["b"]), (vec!["a", "b"], Vec::<&str>::new()));
    assert_differ(("ByName",), (Sort::ByName,));
    assert_differ(
        (Filter {
            min: Some(1),
            max: None,
        },),
        (Filter {
            min: None,
            max: Some(1),
        },),
    );
    assert_differ((), ("",));
}

#[test]
fn long_rendered_key_ends_in_a_digest() {
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
fn template_renders_each_argument_at_its_place() {
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
fn any_bytes_render_without_a_panic() {
    let mut bytes = Vec::new();
    for seed in 0..2_000u64 {
        bytes.clear();
        bytes
            .extend((0..seed % 40).map(|n| (xxh3_64_with_seed(&n.to_le_bytes(), seed) % 32) as u8));
        let _ = render(&bytes, &[]);
    }
}

#[test]
fn keys_with_one_hash_are_equal_only_if_function_and_arguments_are() {
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
fn byte_strings_are_compared_to_the_last_byte() {
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
fn keys_that_differ_anywhere_differ_in_their_hash() {
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

#[track_caller]
fn assert_replays<A: Serialize>(arguments: A) {
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
    assert_replays(());
    assert_replays((true, false, (), None::<u8>, Some(Some(7u64))));
    assert_replays((1i8, 2i16, 3i32, 4i64, 5i128, -1f32, 0.5f64));
    assert_replays((1u8, 2u16, 3u32, 4u64, 5u128, 'ß'));
    assert_replays(("", "text", vec!["a", "b"], Vec::<u8>::new(), [1u64, 2]));
    assert_replays((Sort::ByName, Sort::ByAge(3), Sort::Range { from: 1, to: 2 }));
    assert_replays((Filter {
        min: Some(1),
        max: None,
    },));
    assert_replays((HashMap::from([("b", vec![2u64]), ("a", vec![])]),));
    assert_replays((BTreeMap::from([((1u8, "x"), BTreeMap::from([(1, "y")]))]),));
    assert_replays((Opaque(&Sort::ByAge(1)), Opaque(&"text")));
    // Longer than the buffer on the stack, in one value and in many.
    assert_replays(("k".repeat(500), vec![7u64; 100]));
}
