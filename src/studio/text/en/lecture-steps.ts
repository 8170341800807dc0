/** The steps of the guided tour through the lecture's programs and exercises; loaded with the view. */
export const steps = {
  table: {
    title: 'VGGNet in one table',
    from: 'VGG model structure',
    body: [
      'VGGNet reached 92.7 % top-5 accuracy in ILSVRC with a simple recipe: only 3×3 convolutions, ReLU everywhere, a max-pool after each block, and three fully connected (FC) layers at the end. VGG-16 has 13 + 3 = 16 layers with weights.',
      'This is the lecture’s table, computed by the library. Two things differ from the slide: the paper’s max-pools have 2×2 windows, not 3×3, and the third block has three convolutions, not two. The 25088 of the slide is no layer; it is the flattened input of the first FC layer: 7 × 7 × 512.',
    ],
    question: 'VGG-16 has 138 million parameters. Where are most of them?',
    choices: [
      'In the first convolutions, where maps are largest',
      'In the last convolutions, with 512 maps',
      'In the FC layers',
    ],
    answer:
      'The FC layers have 124 of the 138 million, 89 %; the first of them alone has 25088 × 4096 ≈ 103 million. The work is elsewhere: 99 % of the multiply-adds are in the convolutions, because each weight there is used at every place of a map.',
    links: ['Open VGG-16 in Build and compare the two bars of each block'],
  },
  filters: {
    title: 'Three 3×3 instead of one 7×7',
    from: 'Why training such deep networks works',
    body: [
      'Each value behind a 3×3 convolution sees 3×3 pixels. Behind a second one it sees 5×5, behind a third one 7×7: each layer adds one pixel on every side. So three small filters see as much as one large filter.',
      'Move the sliders. C is the number of maps before and after each layer.',
    ],
    question: 'How many weights do three 3×3 layers have, compared with one 7×7 layer with as many maps?',
    choices: [
      'More: three layers instead of one',
      'About half: 27 C² instead of 49 C²',
      'The same: both see 7×7 pixels',
    ],
    answer:
      '3 · 3² C² = 27 C² weights instead of 7² C² = 49 C²: the large filter needs 81 % more. And there are three ReLUs instead of one, so the small filters can express more: this is what the lecture means by more nonlinearity.',
    links: ['Build with three 3×3', 'Build with one 7×7'],
  },
  transforms: {
    title: 'Pad, flip, crop',
    from: 'Transforms',
    body: [
      'The lecture’s program changes each training image a little whenever it is read: Pad(4) makes 40×40 pixels of 32×32, RandomHorizontalFlip() mirrors half of the images, RandomCrop(32) cuts 32×32 pixels at a random place. ToTensor() then makes numbers from 0 to 1 of bytes.',
      'So the network hardly ever sees the same pixels twice, and cannot learn them by heart.',
    ],
    question: 'Why are test images not cropped at random?',
    choices: [
      'They would become too small',
      'A test shall measure the same thing each time, on images as they are',
      'The network would learn from them',
    ],
    answer:
      'Augmentation makes training harder, so that the network learns what matters. A test asks how well it does on real images; random crops would only make the result noisy. That is why the lecture notes: RandomCrop only for the train_dataset.',
    links: ['Break it: train without augmentation'],
  },
  model: {
    title: 'The Simplified VGGNet, and where 1568 comes from',
    from: 'VGG Model',
    body: [
      'The lecture’s network has one block: conv1 with 16 maps, conv2 with 32 maps, MaxPool2d(4), and one FC layer. In PyTorch you have to write nn.Linear(1568, 10), and to know the 1568 yourself.',
      'A 3×3 convolution without padding loses one pixel on each side: 32 → 30 → 28. MaxPool2d(4) keeps every fourth: 28 → 7.',
    ],
    question: 'How do you get 1568?',
    choices: ['32 × 7 × 7', '16 × 7 × 14', '28 × 28 × 2'],
    answer:
      'conv2 makes 32 maps, each is 7×7 behind the pool, and 32 · 7 · 7 = 1568 values enter the FC layer. With padding=1 the maps would stay 32×32, the pool would leave 8×8, and the layer would need 32 · 8 · 8 = 2048: try it in Build. The library infers this number by itself.',
    links: ['Open the network in Build'],
  },
  training: {
    title: 'Training phase',
    from: 'Training Phase',
    body: [
      'For each batch of 100 images: outputs = model(images), the loss by CrossEntropyLoss, zero_grad, backward, and one step of Adam with the learning rate 0.001. The lecture prints the loss every 100 steps; here you see each of them.',
      'The link below prepares the lecture’s program on the built-in shapes, so that an epoch takes seconds instead of minutes. Press Step: this is one pass of the inner for loop.',
    ],
    question: 'How large will the loss of the very first step be, about?',
    choices: ['0, since nothing is wrong yet', 'ln 10 ≈ 2.3', '10, since there are ten classes'],
    answer:
      'Before it has learned anything, the network gives each of ten classes about 10 %. The cross-entropy of that is −ln 0.1 = ln 10 ≈ 2.30. If your first loss is much larger, something is wrong with the initial weights or the input; if it stays at 2.30, the network only guesses.',
    links: ['Prepare the lecture’s training'],
  },
  schedule: {
    title: 'The learning rate, divided by 3',
    from: 'update_lr() and the training loop',
    body: [
      'Every 20 epochs the lecture’s loop says curr_lr /= 3. Far away from the valley, long steps are good; close to its bottom they jump from side to side, and shorter ones get deeper.',
      'The link prepares the same idea in fast motion: a high rate at first, divided by 3 every two epochs.',
    ],
    question: 'What do you expect in the loss curve when the rate falls?',
    choices: [
      'It rises for a moment',
      'It becomes calmer and sinks by a step',
      'Nothing, the rate only changes the speed',
    ],
    answer:
      'The scatter of the batches’ losses comes from the length of the steps. When the rate falls, the curve calms down and sinks. Dividing too early is the opposite mistake: then the steps are too short to get anywhere. You can also divide it by hand: in Learn, move the slider while it trains.',
    links: ['Prepare a training with lr ÷ 3 every 2 epochs', 'Compare two learning rates'],
    every: 'Divide every',
    epochs: (count: number) => `${count} epochs`,
    by: 'Divide by',
    chart: 'Learning rate',
    chartHelp: 'Of the lecture’s program: 80 epochs, 0.001 at first.',
    rate: 'learning rate',
    table: 'Rates',
    span: (from: number, to: number) => `epochs ${from}–${to}`,
  },
  test: {
    title: 'Test phase',
    from: 'Test Phase',
    body: [
      'model.eval() and torch.no_grad() switch off what only training needs. torch.max(outputs, 1) takes the class with the highest score, and the accuracy is the share of test images for which it is right: 100 · correct / total.',
      'One number hides a lot. The confusion matrix shows which classes are taken for which others.',
    ],
    question:
      'A network that guesses has 10 % accuracy on ten classes. What does its confusion matrix look like?',
    choices: ['All cells about equal, or one full column', 'A full diagonal', 'It is empty'],
    answer:
      'Guessing at random fills all cells evenly; a network that always gives the same answer fills one column. Both have 10 %. A trained network has a full diagonal, and what lies beside it tells you what it confuses. Press a cell to see the images.',
    links: ['Open the confusion matrix in See'],
  },
  exercise1: {
    title: 'Exercise 1: train() and test() in one loop',
    from: 'Exercise 1',
    body: [
      'Change the code so that training and test are done together in the for loop below; write the functions train() and test() for it.',
      'In Learn you see what that loop gives you: after each epoch a dot for the test images, so you notice while it trains whether it gets better on images it has never seen.',
    ],
    question: 'How many epochs does for epoch in range(1, 10) train?',
    choices: ['9', '10', '11'],
    answer:
      'range(1, 10) ends before 10, so there are nine. The library’s trainer() makes these two functions; its code fits on one screen. Mind that test() must not change the network: no gradients, no dropout, and afterwards the training goes on as if nothing had happened.',
    links: ['Train nine epochs, with a test after each'],
    code: 'With the library:',
  },
  exercise2: {
    title: 'Exercise 2: normalization',
    from: 'Exercise 2, equation (5.9)',
    body: [
      'Compute mean μ and standard deviation σ of all training pixels for each channel, R, G and B, and normalize: x′ = (x − μ) / σ. transforms.Normalize(mean, std) does it.',
      'It solves two problems: scale (channels with different ranges) and positivity (if all inputs are positive, all gradients of a neuron’s weights have the same sign).',
    ],
    question: 'With which μ and σ do you normalize the test images?',
    choices: [
      'With those of the test images',
      'With those of the training images',
      'Test images are not normalized',
    ],
    answer:
      'With those of the training images. The network has learned what a value means on their scale; and in use, there is no set of test images to compute anything from, only one photo at a time.',
    links: ['Train without normalization', 'Train with normalization'],
    channels: ['R', 'G', 'B'] as readonly string[],
    histograms: (count: string, dataset: string) => `Pixels of ${count} training images of ${dataset}`,
    before: 'before',
    after: 'after',
    mean: 'mean μ',
    std: 'deviation σ',
    waiting: 'The images are being prepared …',
  },
  exercise3: {
    title: 'Exercise 3: a VGG of seven layers',
    from: 'Exercise 3',
    body: [
      'Build Block2 → Block3 → fc → fc, train it on CIFAR-100 and report the result. Block2 has two convolutions, Block3 three; choose channels and max-pool strides suitably.',
      'Our solution has 64 and 128 channels, 2×2 pools and 512 hidden units. On CIFAR-100 it reaches 63.8 % (top-5 88.2 %) after 30 epochs, with the command line. The page trains a narrow sister with batch normalization on the shapes in about a minute.',
    ],
    question: 'Which layers count in “seven layers”?',
    choices: [
      'Convolutions, max-pools and FC layers',
      'Layers with weights: 2 + 3 convolutions and 2 FC',
      'Everything, ReLUs too',
    ],
    answer:
      'Only layers with weights count: 2 + 3 + 2 = 7. Without batch normalization, plain layers hardly learn with SGD: the signal fades from layer to layer. Remove it in Build and train again to see that.',
    links: [
      'Open the seven layers in Build',
      'Prepare the narrow one with batch normalization',
      'Prepare it without',
    ],
    command: 'On CIFAR-100, on the command line:',
  },
  exercise4: {
    title: 'Exercise 4: a small search',
    from: 'Exercise 4',
    body: [
      'Tune the network: choose candidates for the number of channels and the strides of max-pooling, and search. Here is such a search in small: six networks train for one epoch each on the shapes, in this page. The library’s vgg tune does the same with pruning, on a cluster.',
      'Choose a favorite before you start.',
    ],
    question: 'What will matter more, channels or strides?',
    choices: ['Channels', 'Strides', 'Neither, all will be equal'],
    answer:
      'In our search on CIFAR-100, strides mattered most: a pool with stride 4 throws away 15 of 16 places, and what is gone no later layer can use. Channels mattered less and cost more. One caution: whoever takes the best of many trials by test accuracy reports a little too much. Choose by validation images, and test once at the end.',
    links: ['Open the search’s winner in Build'],
    start: 'Start the search',
    stop: 'Stop',
    channels: 'Channels',
    strides: 'Pool strides',
    parameters: 'Parameters',
    accuracy: 'Test accuracy',
    time: 'Time',
    waiting: 'waiting',
    running: 'training …',
    failed: (reason: string) => `failed: ${reason}`,
    caption: 'Six trials, one epoch each',
    best: 'best so far',
    progress: (done: number, total: number) => `${done} of ${total} trials are done.`,
  },
  own: {
    title: 'Now you',
    from: 'What comes next',
    body: [
      'You have seen every part of the lecture’s program at work. Now take it somewhere: show the network your own photo, teach it classes of your own, or break it in ways nobody has tried.',
      'For CIFAR-10 and CIFAR-100 use the command line, or bring the archive to this page. A training that you begin here continues there.',
    ],
    question: 'You photograph a cup, and the network says “ring”, 99 %. Is it broken?',
    choices: [
      'Yes, 99 % is far too sure',
      'No: it can only choose among the classes it knows',
      'Yes, it should say that it does not know',
    ],
    answer:
      'Softmax spreads 100 % over the known classes; “none of them” is not among them. A cup from above is a ring, too. Teach it: collect cups in Try, and some other thing, and train on your own images.',
    links: ['Try your own image', 'Collect classes of your own', 'Share your training'],
  },
};
