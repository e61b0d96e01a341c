"""The same images made worse: does a panel refer more, or is it wrong with confidence?"""
