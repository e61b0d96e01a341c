"""From a posterior to a verdict: prediction sets, thresholds, policy, second looks, explanation."""
