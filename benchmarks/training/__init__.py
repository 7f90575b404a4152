"""Fine-tuning by wdiv and by its peers: the same work, each contender in a process of its own.

Same images (uint8 in memory at first; peers normalise them once), weights, batches in the same order, seed of dropout,
Adam, rates, epochs, threads and test images after every epoch. So the losses must agree, and do, or else no ratio is
given. wdiv also saves every epoch, and evaluates once before the first; peers save nothing. All leave the statistics of
frozen BatchNorm layers alone, each peer in its own way.
"""
