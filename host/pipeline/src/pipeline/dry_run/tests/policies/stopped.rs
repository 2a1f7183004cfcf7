//! Deferred messages of campaigns that are stopped, or not there any more, at their release.

use super::*;
use hailer_engine::{Mode, Trial};

/// A message of the campaign `a`, deferred at 06:30 and to be sent by 09:30, and the dry run that
/// deferred it.
fn deferred_at_half_past_six(campaigns: Vec<Arc<Campaign>>) -> DryRun {
    let mut dry_run = under_rules(three_hours(), campaigns);
    let early = moscow("03T06:30:00");
    let decided = dry_run.decide([purchase(1, 1, early)], early).unwrap();
    let verdicts = verdicts(&decided);
    assert!(verdicts[0].ends_with(": until 2026-03-03T06:00:00Z night"), "{verdicts:?}");
    dry_run
}

fn three_hours() -> Policies {
    policies(&format!("{NIGHT}\n[campaigns.a]\ndiscard_after = \"3h\""))
}

fn stopped(campaigns: Vec<(Arc<Campaign>, Option<Stop>)>) -> Arc<RuleSet> {
    Arc::new(RuleSet::with_stopped(campaigns, 2).with_policies(Some(Arc::new(three_hours()))))
}

fn live(change: impl FnOnce(&mut CampaignSpec)) -> Arc<Campaign> {
    campaign_with("a", vec![send("x")], change)
}

#[test]
fn a_message_of_a_paused_campaign_waits_until_the_campaign_runs_or_the_message_is_stale() {
    for stop in [Stop::Paused, Stop::Suspended] {
        let paused = || stopped(vec![(live(|_| {}), Some(stop))]);
        let running = || stopped(vec![(live(|_| {}), None)]);
        let mut before = deferred_at_half_past_six(vec![live(|_| {})]);
        let mut dry_run = swap(&mut before, &paused());
        assert!(dry_run.advance(moscow("03T09:20:00")).unwrap().is_empty());
        let mut dry_run = swap(&mut dry_run, &running());
        let released = dry_run.advance(moscow("03T09:30:00")).unwrap();
        assert_eq!(verdicts(&released), ["released a: passed"]);

        let mut before = deferred_at_half_past_six(vec![live(|_| {})]);
        let mut dry_run = swap(&mut before, &paused());
        assert!(dry_run.advance(moscow("03T09:30:00")).unwrap().is_empty());
        let stale = dry_run.advance(moscow("03T10:00:00")).unwrap();
        assert_eq!(verdicts(&stale), ["released a: stale"]);
        let mut dry_run = swap(&mut dry_run, &running());
        assert!(dry_run.advance(moscow("04T10:00:00")).unwrap().is_empty());
    }
}

#[test]
fn a_message_of_a_campaign_that_is_removed_off_or_over_is_not_sent() {
    let eight = moscow("03T08:00:00");
    let off = || live(|spec| spec.mode = Mode::Off);
    let over = || live(|spec| spec.end_ms = Some(eight));
    let other = || campaign("b", vec![send("x")]);
    for gone in [vec![], vec![other()], vec![off()], vec![over()]] {
        let mut before = deferred_at_half_past_six(vec![live(|_| {})]);
        let gone = gone.into_iter().map(|campaign| (campaign, None)).collect();
        let mut dry_run = swap(&mut before, &stopped(gone));
        let released = dry_run.advance(moscow("04T09:00:00")).unwrap();
        assert_eq!(verdicts(&released), ["released a: campaign-gone"]);
    }
}

#[test]
fn the_canary_of_a_paused_campaign_sends_nothing_at_a_release() {
    let canary = || {
        campaign_with("a-next", vec![send("x")], |spec| {
            spec.trial = Some(Trial::new("a", &spec.digest, &spec.params, 100));
            spec.version = "2.0.0".into();
        })
    };
    let mut before = deferred_at_half_past_six(vec![live(|_| {}), canary()]);
    let paused = stopped(vec![(live(|_| {}), Some(Stop::Paused)), (canary(), None)]);
    let mut dry_run = swap(&mut before, &paused);
    assert!(dry_run.advance(moscow("03T09:20:00")).unwrap().is_empty());
    let running = stopped(vec![(live(|_| {}), None), (canary(), None)]);
    let mut dry_run = swap(&mut dry_run, &running);
    let released = dry_run.advance(moscow("03T09:30:00")).unwrap();
    assert_eq!(verdicts(&released), ["released a: passed"]);
    assert_eq!(&*released[0].outcomes[0].version, "2.0.0", "the canary decides again");
}
