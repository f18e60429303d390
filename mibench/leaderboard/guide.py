"""How to read a leaderboard: the text below its tables."""

__all__ = ["GUIDE", "KERNEL"]

GUIDE = """\
- **Samples.** Members were trained on, non-members and reference were not; all come from one pool, split anew for
  each seed. The first 20 % of members and of non-members are for calibration: attacks may learn from them, and
  settings are chosen on them. Every figure of an attack is from the other 80 %. The reference is never attacked.
  *Near-duplicates* (mean over seeds) are non-members closer to a member than a tenth of the median distance between
  neighbouring samples.
- **Figures** are mean ± standard deviation over the seeds {seeds}; (2/3) says that two of three seeds have one,
  {missing} that the cell has not been run, n/a that it cannot be, and *failed* that its attack broke, with the reason in a
  footnote.
- **AUROC.** Larger scores mean "member". An AUROC below .5 is shown as it is, never flipped.
- **Settings.** *Published* is the setting of the attack's paper, *calibrated* the best on the calibration samples,
  *oracle* the best on the very samples that it is reported on: what hindsight adds.
- **Worst known attack**: the attack with the largest mean calibrated AUROC, for attackers with access to generated
  samples, to the network's answers as well, to its weights, and with shadow models of their own; each may use all that
  the ones before it use. It is the one column that is chosen on the samples that it is reported on, and later attacks
  can only raise it. Its interval is at 95 % for all attacks that it was chosen from together (Newcombe's method 5,
  Bonferroni), and *null* is the same maximum of the same attacks on fresh data, where there is nothing to find.
- † No adaptive attack has met it: none that was made for this kind of defense, and none that the defense names as its
  strongest adversary; what did is below the table. ▲ It leaks more than the baseline does when it has
  the baseline's distance.
- **More than the baseline**: the difference of the worst known AUROCs on the same samples (DeLong's paired test, mean
  over seeds, 95 % interval); below 0 the defense hides something.
- **TPR@x%FPR** is the largest true positive rate over all thresholds with at most that false positive rate, of the
  worst known attack at its calibrated setting. It is given where the rate allows at least ten false positives.
- **Accuracy** is balanced, at the threshold that is best on the calibration samples, with the false positive rate that
  this threshold really has. **ε** is the lower bound at 95 % that this puts on the ε of pure differential privacy, mean
  over seeds; samples of one model are not independent, so take it as an estimate.
- **Controls**: the exact model of the members, which every attack should see through (the least over defenses, first
  seed); the exact model of fresh data, where .5 is right (the farthest over defenses and seeds, and how many of them are
  so far from .5 that chance takes any of all on this dataset there in 1 % of cases); and the stored scores of the latter
  with shuffled labels. `blind` never looks at a model.
- **Intervals** at 95 % are in the records, seed by seed: of the AUROC, DeLong's on the logit scale with one
  pseudo-score added to each sample; of the TPR, a bootstrap that draws the threshold anew.
- **FD** is the Fréchet distance between generated samples and the reference in the named feature space; *null* that
  between the halves of the reference, *copies* that of resampled members, *gauss* that of a Gaussian with their mean
  and covariance. The *fraction* is (FD − copies) / (gauss − copies): 0 for a model no better than copies of its data,
  and above 1 for one no better than the Gaussian, which does not generate. *Copied* are samples nearer to a member
  than 99 % of the reference are.
- **Evaluations** are network forwards + vector–Jacobian products for each scored sample; *of shadow models* the same of
  theirs, *to learn* all that was asked of any model before the first sample was scored, where records say so."""

KERNEL = """\
- **KD** is the kernel distance (squared maximum mean discrepancy, cubic kernel) in the same space, without bias, so it may
  lie a little below 0. With Inception features, where their weights were at hand, the distances are headed **FID** and
  **KID**; an FID of few samples is far above that of many."""
