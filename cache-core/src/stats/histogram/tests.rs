use super::*;

const MILLISECOND: Duration = Duration::from_millis(1);

fn histogram(all: impl IntoIterator<Item = Duration>) -> Histogram {
    let live = LiveHistogram::default();
    all.into_iter().for_each(|took| live.record(took));
    live.snapshot()
}

#[test]
fn bounds_are_six_for_each_power_of_ten_from_10_us_to_30_s() {
    let micros = |at: usize| BOUND[at].as_micros();
    let first: Vec<_> = (0..8).map(micros).collect();
    assert_eq!(first, [10, 15, 20, 30, 50, 70, 100, 150]);
    let last: Vec<_> = (34..BOUNDS).map(micros).collect();
    let expected = [5, 7, 10, 15, 20, 30].map(|seconds| seconds * 1_000_000);
    assert_eq!(last, expected);
    assert!(BOUND.is_sorted());
}

#[test]
fn exported_bounds_are_three_for_each_power_of_ten_from_10_us_to_20_s() {
    let bounds: Vec<_> = Histogram::exported_bounds().collect();
    assert_eq!(bounds.len(), 20);
    let micros: Vec<_> = bounds[..5].iter().map(Duration::as_micros).collect();
    assert_eq!(micros, [10, 20, 50, 100, 200]);
    let seconds: Vec<_> = bounds[17..].iter().map(Duration::as_secs).collect();
    assert_eq!(seconds, [5, 10, 20]);
}

#[test]
fn duration_is_in_the_bucket_whose_bound_it_does_not_exceed() {
    for (took, up_to) in [
        (Duration::ZERO, Some(BOUND[0])),
        (MILLISECOND, Some(MILLISECOND)),
        (
            MILLISECOND + Duration::from_nanos(1),
            Some(MILLISECOND * 3 / 2),
        ),
        (MILLISECOND * 20, Some(MILLISECOND * 20)),
        (Duration::from_secs(30), Some(Duration::from_secs(30))),
        (Duration::from_secs(31), None),
        (Duration::MAX, None),
    ] {
        let recorded = histogram([took]);
        assert_eq!(
            recorded.buckets(),
            [HistogramBucket { up_to, count: 1 }],
            "{took:?}"
        );
    }
}

#[test]
fn exported_buckets_have_each_duration_once() {
    let all = BOUND.map(|bound| bound + Duration::from_nanos(1));
    let recorded = histogram(all.into_iter().chain(BOUND));
    let exported = recorded.exported();
    assert_eq!(exported.len(), 21);
    let counts: Vec<_> = exported.iter().map(|bucket| bucket.count).collect();
    assert_eq!(counts.iter().sum::<u64>(), recorded.count());
    // Up to 10 us: that bound. Up to 20 us: 15 and 20 us, and what is above 10 and 15 us.
    assert_eq!(counts[..3], [1, 4, 4]);
    // Above 20 s: 30 s, and what is above 20 and 30 s.
    assert_eq!(counts[20], 3);
    assert_eq!(exported[20].up_to, None);
}

#[test]
fn quantile_is_interpolated_and_off_by_less_than_the_width_of_its_bucket() {
    assert_eq!(Histogram::default().quantile(0.5), None);
    let thousand = histogram((1..=1_000).map(|number| MILLISECOND * number));
    for share in [0.01, 0.25, 0.5, 0.9, 0.99, 1.0] {
        let exact = 1_000.0 * share;
        let found = thousand.quantile(share).unwrap().as_secs_f64() * 1_000.0;
        // The durations are spread evenly.
        assert!((found - exact).abs() <= 1.0, "{share}: {found} for {exact}");
    }
    for number in 1..2_000 {
        let exact = MILLISECOND * number;
        for share in [0.0, 0.5, 1.0] {
            let found = histogram([exact]).quantile(share).unwrap();
            let off = (found.as_secs_f64() / exact.as_secs_f64() - 1.0).abs();
            assert!(off <= 0.67, "{found:?} for {exact:?}");
        }
    }
    let long = histogram([Duration::from_secs(3_600)]);
    assert_eq!(long.quantile(0.5), Some(Duration::from_secs(30)));
    assert_eq!(long.sum(), Duration::from_secs(3_600));
}

#[test]
fn quantile_of_a_published_histogram_is_at_most_the_highest_bound() {
    let longest = HistogramBucket {
        up_to: Some(Duration::from_secs(u64::MAX)),
        count: 3,
    };
    let read = Histogram {
        buckets: vec![longest],
        ..Histogram::default()
    };
    for share in [0.0, 0.5, 1.0] {
        assert_eq!(read.quantile(share), Some(Duration::from_secs(30)));
    }
}

#[test]
fn merged_histograms_are_the_histogram_of_all_durations() {
    let durations = |of: u32| (0..50).map(move |number| MILLISECOND * number * of);
    let mut merged = histogram(durations(1));
    merged.merge(&histogram(durations(700)));
    merged.merge(&Histogram::default());
    assert_eq!(merged, histogram(durations(1).chain(durations(700))));
}
