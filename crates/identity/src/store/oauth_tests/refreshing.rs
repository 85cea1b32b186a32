//! Refresh tokens: rotation, lost answers, reuse.

use super::*;

#[test]
fn ten_refreshes_at_once_get_the_same_successor() {
    let mut place = Place::new();
    let token = place.active();
    let policy = ReusePolicy::End;

    let results = at_once(&place.path, |store| {
        let granted = refused(store.refresh_grant(&token, policy, at(2))).unwrap();
        let text = seal().refresh(granted.grant.id, granted.turn).unwrap();
        (text.expose().to_owned(), granted.sequence.is_some())
    });

    let texts: BTreeSet<_> = results.iter().map(|(text, _)| text).collect();
    assert_eq!(texts.len(), 1);
    let changes = results.iter().filter(|(_, has_changed)| *has_changed);
    assert_eq!(changes.count(), 1, "one of them took the turn");
    assert_eq!(place.state(&token.grant), GrantState::Active);
}

#[test]
fn a_lost_answer_is_given_again_however_late() {
    let mut place = Place::new();
    let first = place.active();

    let second = place.refresh(&first, at(10)).unwrap();
    let again = place.refresh(&first, at(10) + DAY).unwrap();

    assert_eq!((second.turn, again.turn), (1, 1));
    assert_eq!(again.sequence, None, "nothing is written");
}

#[test]
fn the_token_before_a_used_one_is_good_for_two_minutes() {
    let mut place = Place::new();
    let first = place.active();
    let second = place.refresh(&first, at(10)).unwrap();
    let used = GrantUse {
        grant: first.grant,
        turn: second.turn,
        at: at(11),
    };
    place.store.note_grant_use(&[used], at(11)).unwrap();

    assert_eq!(place.refresh(&first, at(130)).map(|g| g.turn), Ok(1));
    let late = place.refresh(&first, at(131));

    assert_eq!(late, Err(GrantError::RefreshReuse));
    let ended = GrantState::Ended(EndReason::RefreshReuse);
    assert_eq!(place.state(&first.grant), ended);
    let present = place.token(&second);
    assert_eq!(place.refresh(&present, at(132)), Err(GrantError::Ended));
}

#[test]
fn a_token_of_two_turns_ago_ends_the_grant_or_is_refused() {
    for policy in ReusePolicy::ALL {
        let mut place = Place::new();
        let first = place.active();
        let second = place.refresh(&first, at(10)).unwrap();
        let second = place.token(&second);
        let third = place.refresh(&second, at(11)).unwrap();
        let third = place.token(&third);

        let reused = place.store.refresh_grant(&first, policy, at(12));

        assert_eq!(refused(reused), Err(GrantError::RefreshReuse));
        let after = place.refresh(&third, at(13)).map(|granted| granted.turn);
        match policy {
            ReusePolicy::End => assert_eq!(after, Err(GrantError::Ended)),
            ReusePolicy::Refuse => assert_eq!(after, Ok(3)),
        }
    }
}

#[test]
fn a_refresh_fits_its_grant_and_never_widens_it() {
    let mut place = Place::new();
    let mut approved = place.approved();
    approved.grant.scope = Scope::Read;
    let code = place.allow(&approved);
    let granted = place.redeem(&code, at(1)).unwrap();
    let token = place.token(&granted);

    let mut other = token.clone();
    other.client = "other".parse().unwrap();
    assert_eq!(place.refresh(&other, at(2)), Err(GrantError::OtherClient));
    let mut other = token.clone();
    other.resource = Some(id("other"));
    assert_eq!(place.refresh(&other, at(2)), Err(GrantError::OtherResource));
    let mut wider = token.clone();
    wider.scope = Some(Scope::All);
    assert_eq!(place.refresh(&wider, at(2)), Err(GrantError::WiderScope));
    let mut ahead = token.clone();
    ahead.turn = 9;
    assert_eq!(place.refresh(&ahead, at(2)), Err(GrantError::Unknown));

    let granted = place.refresh(&token, at(2)).unwrap();
    assert_eq!((granted.turn, granted.scope), (1, Scope::Read));
}
