use super::*;
use crate::faults::{Fault, Faults, Operation};

/// Returns how long the prefix is held, and what was inherited, of a heartbeat that took the
/// prefix.
fn taken(beat: Ownership) -> (Instant, Option<Vec<u8>>) {
    match beat {
        Ownership::Taken(until, left) => (until, left),
        beat => panic!("{beat:?}"),
    }
}

/// Sends heartbeats until the owner has taken the prefix, and returns what it inherited.
async fn take(owner: &mut Owner, operator: &Operator) -> Option<Vec<u8>> {
    let began = Instant::now();
    loop {
        match owner.heartbeat(operator).await {
            Ok(Ownership::Taken(_, left)) => return left,
            Ok(Ownership::Kept(_)) => panic!("the prefix was taken before"),
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
async fn prefix_is_held_until_its_owner_leaves_or_is_silent() {
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
        assert_eq!(
            left.as_deref(),
            Some(&b"rest"[..]),
            "the first owner left in order"
        );
        // The second owner is killed, and sends no more heartbeats.
        assert_eq!(take(&mut first, &operator).await, None);
        assert!(
            Instant::now() > held,
            "the killed owner may still use the prefix"
        );
        assert_eq!(second.heartbeat(&operator).await.unwrap(), Ownership::Other);
        // The first owner leaves again. The second one must inherit its epochs, not continue with
        // its own.
        first.leave(&operator, b"more").await.unwrap();
        assert_eq!(take(&mut second, &operator).await.unwrap(), b"more");
    }
}

#[tokio::test(start_paused = true)]
async fn one_of_two_instances_that_take_the_prefix_at_once_holds_it() {
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
                // Both have read the owner object before either writes it.
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

/// The write of the heartbeat has landed, but its reply was lost. The next heartbeat finds its own
/// sign.
#[tokio::test(start_paused = true)]
async fn prefix_taken_back_with_a_lost_reply_has_no_inheritance() {
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
    assert_eq!(left, None, "another owner held the prefix in between");
}

/// A heartbeat that timed out lands over the sign of another owner.
#[tokio::test(start_paused = true)]
async fn heartbeat_that_lands_late_does_not_keep_the_prefix() {
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

/// Within the silence, no other owner can have taken the prefix.
#[tokio::test(start_paused = true)]
async fn heartbeat_with_a_lost_reply_does_not_lose_the_prefix() {
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

/// Epochs that land late must not be inherited by the owner after the next.
#[tokio::test(start_paused = true)]
async fn epochs_that_were_left_late_are_not_inherited() {
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
    // The second owner is killed, so its prefix is taken without an inheritance.
    assert_eq!(take(&mut first, &operator).await, None);
    first.leave(&operator, b"again").await.unwrap();
    assert_eq!(take(&mut second, &operator).await.unwrap(), b"again");
    sleep(SILENCE * 2).await;
    assert_eq!(
        take(&mut first, &operator).await,
        None,
        "the owner was killed"
    );
}

/// The replies to the writes of the heir are lost.
#[tokio::test(start_paused = true)]
async fn heir_stays_the_heir_until_it_holds_the_prefix() {
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
        assert_eq!(left.is_some(), inherits, "path: {path}");
    }
}

/// The service claims to have conditional writes, and fails each of them.
#[tokio::test(start_paused = true)]
async fn instance_that_cannot_create_a_claim_takes_the_prefix_after_the_silence() {
    let faults = Faults::default();
    let (operator, _) = faults.operators();
    let (mut first, mut second) = two();
    take(&mut first, &operator).await;
    first.leave(&operator, b"rest").await.unwrap();
    faults.set(Operation::Write, "heirs", Fault::Fails);
    assert_eq!(take(&mut second, &operator).await, None);
}

#[tokio::test(start_paused = true)]
async fn torn_epochs_are_not_inherited() {
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

/// The slow instance read the owner object before the other wrote it, and writes after the other
/// has read it again.
#[tokio::test(start_paused = true)]
async fn slow_instance_does_not_inherit() {
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
    assert_eq!(left, None, "the other instance has inherited");
}

/// Another instance may have inherited since the read, and its claim may have been swept.
#[tokio::test(start_paused = true)]
async fn claim_that_is_created_late_does_not_inherit() {
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
