//! Time zones by offset and by abbreviation.

/// The offset in seconds east of UTC of an abbreviation in lower case.
///
/// The list is PostgreSQL's default one; for zones that changed their offset over time it is the
/// present standard offset.
pub(super) fn abbreviated(word: &str) -> Option<i64> {
    ABBREVIATIONS
        .iter()
        .find(|(_, names)| names.split(' ').any(|name| name == word))
        .map(|(minutes, _)| minutes * 60)
}

/// Reads `+hh`, `+hhmm`, `+hh:mm` or `+hh:mm:ss` (either sign) as seconds east of UTC.
pub(super) fn offset(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'+' => (1, &text[1..]),
        b'-' => (-1, &text[1..]),
        _ => return None,
    };
    let mut parts = digits.split(':');
    let first = parts.next().filter(|part| is_digits(part))?;
    let number: i64 = first.parse().ok()?;
    let minutes = parts.next();
    let seconds = parts.next();
    if parts.next().is_some() {
        return None;
    }
    let (hours, minutes, seconds) = match (minutes, seconds) {
        (None, _) if first.len() > 2 => (number / 100, number % 100, 0),
        (None, _) => (number, 0, 0),
        (Some(m), s) => (number, two_digits(m)?, s.map_or(Some(0), two_digits)?),
    };
    // No place on Earth is further from UTC than 14 hours; PostgreSQL takes up to 15:59:59.
    (hours <= 15 && minutes < 60 && seconds < 60)
        .then_some(sign * (hours * 3600 + minutes * 60 + seconds))
}

fn two_digits(text: &str) -> Option<i64> {
    (is_digits(text) && text.len() <= 2).then(|| text.parse().ok()).flatten()
}

fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit())
}

const ABBREVIATIONS: [(i64, &str); 37] = [
    (-660, "nut"),
    (-600, "hst ckt taht"),
    (-570, "mart"),
    (-540, "akst gamt"),
    (-480, "akdt pst"),
    (-420, "mst pdt"),
    (-360, "cst mdt galt east"),
    (-300, "est cdt cot pet easst"),
    (-240, "edt ast bot gyt vet clt pyt amt"),
    (-210, "nst"),
    (-180, "adt brt bra art clst fkt fkst gft pmst pyst uyt wgt"),
    (-150, "ndt"),
    (-120, "brst fnt pmdt uyst wgst"),
    (-60, "azot egt fnst"),
    (0, "z utc gmt zulu ut uct wet azost egst"),
    (60, "cet bst met mez wat wetdst"),
    (120, "cest eet ist sast mest mesz cetdst metdst wast"),
    (180, "eest eat msk idt eetdst fet"),
    (210, "irt"),
    (240, "msd get gest mut ret sct samt volt amst"),
    (300, "pkt uzt tjt tmt mvt tft yekt mawt must aqtt"),
    (330, "lkt"),
    (345, "npt"),
    (360, "almt bdt btt iot kgt kgst omst pkst uzst xjt yekst"),
    (390, "mmt"),
    (420, "ict cxt davt hovt krat novt omsst almst"),
    (480, "awst hkt bnt bort cct irkt krast myt pht sgt ulat novst"),
    (540, "jst kst awdt irkst jayt pwt tlt ulast wdt yakt"),
    (570, "acst cast"),
    (600, "aest chut ddut kdt ligt mpt pgt truk vlat yakst yapt"),
    (630, "acdt cadt lhst sadt"),
    (660, "aedt lhdt kost magt nft pont sakt vlast vut"),
    (720, "nzst nzt anat fjt gilt magst mht pett petst tvt wakt wft"),
    (765, "chast"),
    (780, "nzdt fjst phot tkt tot"),
    (825, "chadt"),
    (840, "lint"),
];
