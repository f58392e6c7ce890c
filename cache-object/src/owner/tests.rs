use super::*;
use crate::faults::{Fault, Faults, Operation};

/// How long it has it, and what it inherited, where it has taken it.
fn taken(beat: Ownership) -> (Instant, Option<Vec<u8>>) {
    match beat {
        Ownership::Taken(until, left) => (until, left),
        beat => panic!("{beat:?}"),
    }
}

/// Beats until it has it; what it inherited.
async fn take(owner: &mut Owner, operator: &Operator) -> Option<Vec<u8>> {
    let began = Instant::now();
    loop {
        match owner.heartbeat(operator).await {
            Ok(Ownership::Taken(_, left)) => return left,
            Ok(Ownership::Kept(_)) => panic!("it has it already"),
            Ok(Ownership::Other) | Err(_) => {}
        }
        assert!(began.elapsed() < SILENCE * 2);
        sleep(HEARTBEAT).await;
    }
}

fn two() -> (Owner, Owner) {
    (Owner::new("p"), Owner::new("p"))
}

#[tokio::test(start_paused = true)]
async fn a_prefix_is_one_instances_until_it_ends_or_says_nothing() {
    for can_refuse in [true, false] {
        let faults = Faults::default();
        if !can_refuse {
            faults.cannot_refuse();
        }
        let (operator, _) = faults.operators();
        let (mut first, mut second) = two();
        assert_eq!(taken(first.heartbeat(&operator).await.unwrap()).1, None);
        for _ in 0..10 {
            assert_eq!(second.heartbeat(&operator).await.unwrap(), Ownership::Other);
            sleep(HEARTBEAT).await;
            let kept = first.heartbeat(&operator).await.unwrap();
            assert!(matches!(kept, Ownership::Kept(until) if until > Instant::now()));
        }
        first.leave(&operator, b"rest").await.unwrap();
        let (held, left) = taken(second.heartbeat(&operator).await.unwrap());
        assert_eq!(left.as_deref(), Some(&b"rest"[..]), "it left in order");
        // It dies, and says nothing more.
        assert_eq!(take(&mut first, &operator).await, None);
        assert!(Instant::now() > held, "the one before may still use it");
        assert_eq!(second.heartbeat(&operator).await.unwrap(), Ownership::Other);
        // The one that took it has gone again: what it did in between is not known.
        first.leave(&operator, b"more").await.unwrap();
        assert_eq!(take(&mut second, &operator).await.unwrap(), b"more");
    }
}

#[tokio::test(start_paused = true)]
async fn of_two_that_come_at_once_one_has_it() {
    for can_refuse in [true, false] {
        for is_left in [true, false] {
            let faults = Faults::default();
            if !can_refuse {
                faults.cannot_refuse();
            }
            let (operator, _) = faults.operators();
            if is_left {
                let mut former = Owner::new("p");
                take(&mut former, &operator).await;
                former.leave(&operator, b"rest").await.unwrap();
            }
            if can_refuse {
                // Both have looked before either has written.
                faults.set(Operation::Write, "", Fault::Slow);
            }
            let (mut first, mut second) = two();
            let (one, other) =
                tokio::join!(first.heartbeat(&operator), second.heartbeat(&operator));
            let beats = [one.unwrap(), other.unwrap()];
            let have: Vec<_> = beats
                .into_iter()
                .filter(|beat| *beat != Ownership::Other)
                .collect();
            assert_eq!(have.len(), 1);
            assert_eq!(taken(have[0].clone()).1.is_some(), is_left);
        }
    }
}

/// Its write is there, its beat an error: the next beat finds its own number.
#[tokio::test(start_paused = true)]
async fn what_is_taken_back_in_two_beats_is_taken_anew() {
    let faults = Faults::default();
    let (operator, sound) = faults.operators();
    let (mut first, mut second) = two();
    take(&mut first, &operator).await;
    sleep(HEARTBEAT).await;
    assert_eq!(take(&mut second, &sound).await, None);
    assert_eq!(first.heartbeat(&operator).await.unwrap(), Ownership::Other);
    sleep(SILENCE).await;
    faults.set(Operation::Write, "owner", Fault::Unanswered);
    first.heartbeat(&operator).await.unwrap_err();
    faults.clear();
    let (_, left) = taken(first.heartbeat(&operator).await.unwrap());
    assert_eq!(left, None, "it was another's in between");
}

/// A beat that was given up lands over another owner's.
#[tokio::test(start_paused = true)]
async fn a_beat_that_lands_late_is_not_taken_for_one_in_time() {
    let faults = Faults::default();
    let (operator, sound) = faults.operators();
    let (mut first, mut second) = two();
    take(&mut first, &operator).await;
    faults.set(Operation::Write, "owner", Fault::Late);
    let late = tokio::time::timeout(HEARTBEAT, first.heartbeat(&operator)).await;
    late.unwrap_err();
    faults.clear();
    assert_eq!(take(&mut second, &sound).await, None);
    assert_eq!(faults.land(&sound).await, 1);
    taken(first.heartbeat(&operator).await.unwrap());
    assert_eq!(second.heartbeat(&operator).await.unwrap(), Ownership::Other);
}

/// A beat that is late within the silence is one of its own all the same.
#[tokio::test(start_paused = true)]
async fn a_beat_without_an_answer_does_not_lose_the_prefix() {
    let faults = Faults::default();
    let (operator, _) = faults.operators();
    let mut owner = Owner::new("p");
    take(&mut owner, &operator).await;
    faults.set(Operation::Write, "owner", Fault::Unanswered);
    owner.heartbeat(&operator).await.unwrap_err();
    faults.clear();
    sleep(HEARTBEAT).await;
    assert!(matches!(
        owner.heartbeat(&operator).await,
        Ok(Ownership::Kept(_))
    ));
}

/// What one leaves is not the next one's but one, whenever the write of it lands.
#[tokio::test(start_paused = true)]
async fn what_was_left_late_is_nobodys() {
    let faults = Faults::default();
    let (operator, sound) = faults.operators();
    let (mut first, mut second) = two();
    take(&mut first, &operator).await;
    faults.set(Operation::Write, "left", Fault::Late);
    let left = tokio::time::timeout(HEARTBEAT, first.leave(&operator, b"first")).await;
    left.unwrap_err();
    faults.clear();
    assert_eq!(take(&mut second, &operator).await, None);
    assert_eq!(faults.land(&sound).await, 1);
    // The second dies, or leaves before it lands again: neither time is it of the first.
    assert_eq!(take(&mut first, &operator).await, None);
    first.leave(&operator, b"again").await.unwrap();
    assert_eq!(take(&mut second, &operator).await.unwrap(), b"again");
    sleep(SILENCE * 2).await;
    assert_eq!(take(&mut first, &operator).await, None, "it died");
}

/// The answers to what an heir writes are lost: it is the heir still.
#[tokio::test(start_paused = true)]
async fn an_heir_stays_one_until_it_has_the_prefix() {
    for (path, inherits) in [("owner", true), ("heirs", false)] {
        let faults = Faults::default();
        let (operator, _) = faults.operators();
        let (mut first, mut second) = two();
        take(&mut first, &operator).await;
        first.leave(&operator, b"rest").await.unwrap();
        for fault in [Fault::Fails, Fault::Unanswered] {
            faults.set(Operation::Write, path, fault);
            second.heartbeat(&operator).await.unwrap_err();
            faults.clear();
        }
        let left = take(&mut second, &operator).await;
        assert_eq!(left.is_some(), inherits, "who made it is not known");
    }
}

/// A service that says it can refuse, and cannot even be asked to.
#[tokio::test(start_paused = true)]
async fn who_can_never_be_an_heir_begins_in_the_end() {
    let faults = Faults::default();
    let (operator, _) = faults.operators();
    let (mut first, mut second) = two();
    take(&mut first, &operator).await;
    first.leave(&operator, b"rest").await.unwrap();
    faults.set(Operation::Write, "heirs", Fault::Fails);
    assert_eq!(take(&mut second, &operator).await, None);
}

#[tokio::test(start_paused = true)]
async fn torn_bytes_are_not_inherited() {
    let (operator, _) = Faults::default().operators();
    let (mut first, mut second) = two();
    take(&mut first, &operator).await;
    first.leave(&operator, b"rest").await.unwrap();
    let whole = operator.read("p/left").await.unwrap().to_vec();
    let mut damaged = whole.clone();
    damaged[20] ^= 1;
    for torn in [
        &whole[..0],
        &whole[..7],
        &whole[..whole.len() - 1],
        &damaged,
    ] {
        operator.write("p/left", torn.to_vec()).await.unwrap();
        assert_eq!(second.heartbeat(&operator).await.unwrap(), Ownership::Other);
    }
}

/// It looked before the other had written, and writes when the other has looked again.
#[tokio::test(start_paused = true)]
async fn who_is_slow_does_not_inherit() {
    let faults = Faults::default();
    faults.cannot_refuse();
    let (operator, sound) = faults.operators();
    let (mut first, mut second) = two();
    take(&mut first, &operator).await;
    first.leave(&operator, b"rest").await.unwrap();
    let mut slow = Owner::new("p");
    let began = Moment::now();
    let there = sound.read("p/owner").await.unwrap().to_vec();
    assert!(slow.inherits(&operator, &there, began).await.unwrap());
    assert!(take(&mut second, &operator).await.is_some());
    let (_, left) = taken(slow.take(&operator, false, began).await.unwrap());
    assert_eq!(left, None, "the other has it");
}

/// Another may have inherited, and what says so may be swept, since it looked.
#[tokio::test(start_paused = true)]
async fn a_claim_that_is_made_late_is_none() {
    let faults = Faults::default();
    let (operator, _) = faults.operators();
    let (mut first, mut second) = two();
    take(&mut first, &operator).await;
    first.leave(&operator, b"rest").await.unwrap();
    faults.set(Operation::Read, "owner", Fault::Slow);
    faults.set(Operation::Write, "heirs", Fault::Slow);
    assert_eq!(second.heartbeat(&operator).await.unwrap(), Ownership::Other);
    assert_eq!(faults.begun(Operation::Write, "heirs"), 1);
}
