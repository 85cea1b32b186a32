//! The rule of fair shares, with one owner, with many, and against a simple model.

use proptest::prelude::*;

use super::*;

fn claim(name: &str, factor: usize) -> Claim {
    Claim {
        owner: Owner::of(&name),
        factor,
    }
}

/// Takes one unit after the other until one is refused. Returns the shares and the reason.
fn take_all(pool: &FairShare, name: &str, factor: usize) -> (Vec<Share<1>>, ShareError) {
    let mut shares = Vec::new();
    loop {
        match pool.take([claim(name, factor)], 1) {
            Ok(share) => shares.push(share),
            Err(error) => return (shares, error),
        }
    }
}

#[test]
fn one_owner_can_use_up_a_small_capacity() {
    for capacity in 1..=8 {
        let pool = FairShare::new(capacity);
        let (shares, error) = take_all(&pool, "only", 8);
        assert_eq!((shares.len(), error), (capacity, ShareError::Full));
    }
}

#[test]
fn a_greedy_owner_leaves_room_for_another() {
    let pool = FairShare::new(4096);
    let (greedy, error) = take_all(&pool, "greedy", 8);
    assert_eq!(error, ShareError::Owner(0));
    // Eight ninths of 4096, rounded up.
    assert_eq!(greedy.len(), 3641);
    assert!(pool.take([claim("modest", 8)], 1).is_ok());
}

#[test]
fn greedy_owners_get_equal_shares_in_the_end() {
    let pool = FairShare::new(1000);
    let (mut first, _) = take_all(&pool, "first", 1);
    let (second, _) = take_all(&pool, "second", 1);
    assert_eq!((first.len(), second.len()), (500, 250));

    // The first one cannot replace what it gives back while it holds more than is free.
    first.truncate(400);
    assert_eq!(
        pool.take([claim("first", 1)], 1).err(),
        Some(ShareError::Owner(0))
    );

    first.truncate(333);
    let (more, _) = take_all(&pool, "second", 1);
    assert_eq!(second.len() + more.len(), 334);
}

#[test]
fn a_refusal_names_the_owner_and_takes_nothing() {
    let pool = FairShare::new(100);
    let _held = pool.take([claim("caller", 1)], 50).unwrap();
    let both = [claim("id", 8), claim("caller", 1)];
    assert_eq!(pool.take(both, 1).err(), Some(ShareError::Owner(1)));
    assert_eq!(pool.take(both, 51).err(), Some(ShareError::Full));
    assert_eq!((pool.used(), pool.owners()), (50, 1));
}

#[test]
fn a_share_grows_and_shrinks_and_is_given_back() {
    let pool = FairShare::new(10);
    let mut share = pool.take([claim("caller", 8)], 0).unwrap();
    assert_eq!((pool.used(), pool.owners()), (0, 0));

    share.grow(6).unwrap();
    assert_eq!(share.grow(5), Err(ShareError::Full));
    share.shrink(2);
    assert_eq!((share.amount(), pool.used()), (4, 4));
    share.shrink(100);
    assert_eq!((share.amount(), pool.used(), pool.owners()), (0, 0, 0));

    share.grow(10).unwrap();
    drop(share);
    assert_eq!((pool.used(), pool.owners()), (0, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Take { owner: u8, amount: usize },
    GiveBack { index: usize },
    Grow { index: usize, more: usize },
    Shrink { index: usize, less: usize },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4u8, 0..40usize).prop_map(|(owner, amount)| Step::Take { owner, amount }),
        1 => any::<usize>().prop_map(|index| Step::GiveBack { index }),
        1 => (any::<usize>(), 0..40usize).prop_map(|(index, more)| Step::Grow { index, more }),
        1 => (any::<usize>(), 0..40usize).prop_map(|(index, less)| Step::Shrink { index, less }),
    ]
}

proptest! {
    /// Used is the sum of the shares, never more than the capacity, and an owner's part is the sum
    /// of its shares.
    #[test]
    fn the_books_always_balance(
        capacity in 0..200usize,
        steps in prop::collection::vec(step(), 0..100),
    ) {
        let pool = FairShare::new(capacity);
        let id = claim("id", 2);
        let mut shares: Vec<(u8, Share<2>)> = Vec::new();
        for step in steps {
            match step {
                Step::Take { owner, amount } => {
                    let caller = Claim { owner: Owner::of(&owner), factor: 3 };
                    if let Ok(share) = pool.take([caller, id], amount) {
                        shares.push((owner, share));
                    }
                }
                Step::GiveBack { index } if !shares.is_empty() => {
                    shares.swap_remove(index % shares.len());
                }
                Step::Grow { index, more } if !shares.is_empty() => {
                    let at = index % shares.len();
                    let before = shares[at].1.amount();
                    let grown = shares[at].1.grow(more).is_ok();
                    let expected = if grown { before + more } else { before };
                    prop_assert_eq!(shares[at].1.amount(), expected);
                }
                Step::Shrink { index, less } if !shares.is_empty() => {
                    let at = index % shares.len();
                    shares[at].1.shrink(less);
                }
                _ => {}
            }

            let total: usize = shares.iter().map(|(_, share)| share.amount()).sum();
            prop_assert!(total <= capacity);
            prop_assert_eq!((pool.used(), pool.held_by(id.owner)), (total, total));
            for owner in 0..4u8 {
                let own = shares.iter().filter(|(of, _)| *of == owner);
                let held: usize = own.map(|(_, share)| share.amount()).sum();
                prop_assert_eq!(pool.held_by(Owner::of(&owner)), held);
            }
        }
        drop(shares);
        prop_assert_eq!((pool.used(), pool.owners()), (0, 0));
    }
}
